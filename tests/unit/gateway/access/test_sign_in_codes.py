"""Sign-in codes over a log in memory that two gateways share.

Covers: gateway.access.access_desk.
"""

from __future__ import annotations

import asyncio

import pytest

from gateway.access.access_desk import USES_KEPT_S, TicketUnclaimed, TokenEnded
from infra.access_tokens import TokenExpired, TokenInvalid, issue_token
from infra.kafka.log_client import LogRecord
from infra.sign_in_codes import CODE_S
from schemas.access import TicketUsed
from schemas.codec import encode
from tests.fakes.access_log import hear
from tests.unit.gateway.access.desk_parts import SECRET, Gateways, log_out_alice, real_code, real_ticket
from tests.unit.gateway.gateway_parts import settled


async def test_S43_code_is_good_once() -> None:
    """On whatever gateway, also one that has just started; the token for it opens the door."""
    gateways = Gateways()
    code = real_code(gateways)
    token, said = await gateways.first.redeem(gateways.codes, code)
    verified = gateways.second.tokens.verify(token)

    assert verified.user == said.user == "alice"
    assert verified.issued_at_s == int(gateways.first.now_s())
    for desk in (gateways.first, gateways.second, gateways.desk()):
        with pytest.raises(TokenInvalid, match="the code has been used; `tokenwire page`"):
            await desk.redeem(gateways.codes, code)
    assert len(gateways.log.records) == 1


async def test_S43_two_gateways_at_once_give_one_token() -> None:
    """Both publish their claim; the first on the log counts, for both."""
    gateways = Gateways()
    gateways.log.delivers = False
    code = real_code(gateways)
    racing = [asyncio.create_task(desk.redeem(gateways.codes, code)) for desk in (gateways.first, gateways.second)]
    await settled()
    for record in gateways.log.records:
        for desk in gateways.log.desks:
            hear(desk, record)
    first, second = await asyncio.gather(*racing, return_exceptions=True)

    assert isinstance(first, tuple)
    assert isinstance(second, TokenInvalid)


async def test_S43_a_logout_ends_the_code_and_its_token() -> None:
    """Made before it: whether it comes before the use, on the way or behind it; one made later is good."""
    gateways = Gateways()
    early, late, used = real_code(gateways), real_code(gateways), real_code(gateways)
    token, _ = await gateways.first.redeem(gateways.codes, used)
    gateways.log.delivers = False
    under_way = asyncio.create_task(gateways.first.redeem(gateways.codes, early))
    await settled()
    log_out_alice(gateways.first)
    hear(gateways.first, gateways.log.records[-1])
    gateways.log.delivers = True

    with pytest.raises(TokenEnded):
        await under_way
    with pytest.raises(TokenEnded):
        await gateways.first.redeem(gateways.codes, late)
    with pytest.raises(TokenEnded):
        gateways.first.tokens.verify(token)
    gateways.clock.advance(2)
    await gateways.first.redeem(gateways.codes, real_code(gateways))


async def test_S43_a_gateway_that_lags_gives_no_token_that_outlives_the_logout() -> None:
    """It has not heard of the logout yet; the token has the code's moment, so it is ended all the same."""
    gateways = Gateways()
    code = real_code(gateways)
    gateways.clock.advance(5)
    log_out_alice(gateways.first)
    gateways.clock.advance(5)
    token, _ = await gateways.second.redeem(gateways.codes, code)

    with pytest.raises(TokenEnded):
        gateways.first.tokens.verify(token)
    log_out_alice(gateways.second, 5)
    with pytest.raises(TokenEnded):
        gateways.second.tokens.verify(token)


async def test_S43_code_that_cannot_be_checked_gives_nothing() -> None:
    """Kafka is away: said, and nothing is used up by that."""
    gateways = Gateways()
    gateways.log.reachable = False
    code = real_code(gateways)
    with pytest.raises(TicketUnclaimed, match="so the code could not be checked"):
        await gateways.first.redeem(gateways.codes, code)
    gateways.log.reachable = True

    assert (await gateways.first.redeem(gateways.codes, code))[1].user == "alice"


async def test_S43_no_kind_of_ticket_passes_for_another() -> None:
    """A back end's ticket is no token, a code opens no socket, a token is neither."""
    gateways = Gateways()
    ticket, code = real_ticket(gateways), real_code(gateways)
    token = issue_token(SECRET, "alice", ttl_s=4e9, now_s=gateways.first.now_s())
    for wrong in (ticket, ticket.removeprefix("ticket."), token, "", "x.y.z", code[:-2], "x" * 65_536):
        with pytest.raises(TokenInvalid, match="the code is "):
            await gateways.first.redeem(gateways.codes, wrong)
    for wrong in (code, f"ticket.{code}"):
        with pytest.raises(TokenInvalid):
            await gateways.first.cash(wrong)
        with pytest.raises(TokenInvalid):
            gateways.first.tokens.verify(wrong)
    with pytest.raises(TokenExpired, match="the code has expired; `tokenwire page`"):
        gateways.codes.read(gateways.codes.issue("alice", ttl_s=60, now_s=gateways.first.now_s()))

    assert not gateways.log.records


def test_uses_are_kept_for_a_while_whatever_they_say() -> None:
    """A use that says it matters for ever does not stay for ever."""
    desk = Gateways().first
    desk.hear_claim(LogRecord(0, 0, b"t", encode(TicketUsed(ticket="t", claim="c", expires_at_s=9e99))))
    desk.claims.forget(desk.now_s() + CODE_S)
    assert desk.claims.first
    desk.claims.forget(desk.now_s() + USES_KEPT_S + 1)

    assert not desk.claims.first
