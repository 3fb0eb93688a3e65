"""Logouts and tickets over a log in memory that two gateways share.

Covers: gateway.access.access_reader, infra.connect_tickets.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import jwt
import pytest
from structlog.testing import capture_logs

from gateway.access import access_desk
from gateway.access.access_desk import TicketUnclaimed, TokenEnded
from gateway.access.access_reader import AccessReader
from gateway.access.decisions import logged_out
from gateway.sockets.gateway_metrics import GatewayMetrics
from infra.access_tokens import TokenExpired, TokenInvalid, VerifiedToken, issue_token
from infra.connect_tickets import TICKET_S, TicketIssuer, is_ticket
from infra.decisions.backoff import Backoff
from infra.kafka.log_client import LogBounds, LogRecord, UnknownLog
from producers.errors import ProducerError
from schemas.access import TicketUsed, UserLoggedOut
from schemas.codec import encode
from schemas.identifiers import UserId
from tests.fakes.access_log import hear
from tests.fakes.followed_log import FollowedLog, FollowedLogReader
from tests.fakes.topic_names import ACCESS, NAMES, TICKETS
from tests.fakes.virtual_clock import VirtualClock
from tests.fakes.virtual_loop import VirtualLoop, run_virtual
from tests.unit.gateway.access.desk_parts import ALICE, DAY_S, SECRET, Gateways, log_out_alice, real_ticket
from tests.unit.gateway.gateway_parts import settled


async def test_logout_ends_tokens_on_all_gateways() -> None:
    """Also on one that starts later; a token issued afterwards is good; each is told once."""
    gateways = Gateways()
    told: list[tuple[str, float]] = []
    gateways.second.on_logged_out = lambda user, at_s: told.append((user, at_s))
    old = gateways.token(10)
    await gateways.first.log_out(ALICE, deadline_s=1)
    later = gateways.desk()
    gateways.clock.advance(2)

    for desk in (gateways.first, gateways.second, later):
        with pytest.raises(TokenEnded):
            desk.tokens.check(old)
        desk.tokens.check(gateways.token())
        desk.tokens.check(VerifiedToken(UserId("bob"), 0.0))
        with pytest.raises(TokenEnded):
            desk.tokens.check(replace(gateways.token(), issued_at_s=0.0))
    assert [user for user, _ in told] == [ALICE]


async def test_logout_that_is_not_on_the_log_is_no_logout() -> None:
    """Whoever asked is told, and tokens stay good."""
    gateways = Gateways()
    gateways.log.reachable = False
    with pytest.raises(ProducerError):
        await gateways.first.log_out(ALICE, deadline_s=1)

    gateways.first.tokens.check(gateways.token(10))


def test_logouts_beyond_the_room_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each that is forgotten is counted and, once, said: among those remembered, and among those to be told on."""
    monkeypatch.setattr(logged_out, "USERS_MAX", 10)
    monkeypatch.setattr(access_desk, "UNTOLD_MAX", 4)
    gateways, metrics = Gateways(), GatewayMetrics(VirtualClock())
    desk, now_s = gateways.first, gateways.first.now_s()
    desk.on_dropped = metrics.logout_dropped
    desk.tell = lambda: None  # type: ignore[method-assign]  # Kafka takes no words meanwhile
    with capture_logs() as logged:
        for number in range(15):
            user = UserId(f"user-{number}")
            desk.tokens.logged_out.saw(user, now_s, now_s)
            word = UserLoggedOut(user=user, at_s=now_s - 30)
            desk.hear_logout(LogRecord(number, desk.clock.now_us() // 1_000, user.encode(), encode(word)))

    shown = metrics.exposition()
    assert b'tokenwire_gateway_logouts_dropped_total{where="remembered"} 5.0' in shown
    assert b'tokenwire_gateway_logouts_dropped_total{where="untold"} 11.0' in shown
    assert sorted(entry["where"] for entry in logged if entry["event"] == "logouts_dropped") == ["remembered", "untold"]


def test_tokens_may_not_be_older_than_logouts_are_remembered() -> None:
    """Whatever their exp says; one that does not say its age passes."""
    gateways = Gateways()
    gateways.first.tokens.check(gateways.token(30 * DAY_S - 60))
    gateways.first.tokens.check(VerifiedToken(ALICE, 0.0))
    with pytest.raises(TokenEnded):
        gateways.first.tokens.check(gateways.token(30 * DAY_S + 60))


def test_verifying_looks_at_logouts_too() -> None:
    """A token that is good by itself and was ended."""
    gateways = Gateways()
    # PyJWT looks at the real clock
    token = issue_token(SECRET, "alice", ttl_s=4e9, now_s=gateways.first.now_s())
    assert gateways.first.tokens.verify(token).user == "alice"
    log_out_alice(gateways.first)
    with pytest.raises(TokenEnded):
        gateways.first.tokens.verify(token)
    assert gateways.first.tokens.leeway_s == 60


async def test_S3_ticket_opens_once() -> None:
    """Used again, on the same gateway or on another one, it is refused."""
    gateways = Gateways()
    ticket = real_ticket(gateways)
    assert is_ticket(ticket)
    assert (await gateways.first.cash(ticket)).user == "alice"
    for desk in (gateways.first, gateways.second):
        with pytest.raises(TokenInvalid):
            await desk.cash(ticket)


async def test_S3_two_gateways_at_once_let_one_in() -> None:
    """Both publish their claim; the one that lies first on the log counts, for both."""
    gateways = Gateways()
    gateways.log.delivers = False
    ticket = real_ticket(gateways)
    racing = [asyncio.create_task(desk.cash(ticket)) for desk in (gateways.first, gateways.second)]
    await settled()
    assert len(gateways.log.records) == 2
    for record in gateways.log.records:
        for desk in gateways.log.desks:
            hear(desk, record)
    outcomes = await asyncio.gather(*racing, return_exceptions=True)

    assert isinstance(outcomes[0], VerifiedToken)
    assert isinstance(outcomes[1], TokenInvalid)
    assert not gateways.first.waiting
    assert not gateways.second.waiting


async def test_ticket_that_cannot_be_checked_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka away, or too many under way: refused, and a new ticket may work."""
    gateways = Gateways()
    gateways.log.reachable = False
    with pytest.raises(TicketUnclaimed):
        await gateways.first.cash(real_ticket(gateways))
    gateways.log.reachable = True
    gateways.log.delivers = False
    monkeypatch.setattr(access_desk, "CLAIM_S", 0.01)
    with pytest.raises(TicketUnclaimed):
        await gateways.first.cash(real_ticket(gateways))
    monkeypatch.setattr(access_desk, "CLAIMS_WAITING_MAX", 0)
    with pytest.raises(TicketUnclaimed):
        await gateways.first.cash(real_ticket(gateways))


async def test_ticket_ends_with_its_user_s_logout() -> None:
    """A ticket made before a logout opens nothing after it."""
    gateways = Gateways()
    ticket = real_ticket(gateways)
    await gateways.second.log_out(ALICE, deadline_s=1)
    with pytest.raises(TokenEnded):
        await gateways.first.cash(ticket)


async def test_S20_logout_while_a_ticket_is_claimed() -> None:
    """The claim counts, and opens nothing: what was checked before the wait is checked after it."""
    gateways = Gateways()
    gateways.log.delivers = False
    cashing = asyncio.create_task(gateways.first.cash(real_ticket(gateways)))
    await settled()
    log_out_alice(gateways.first)
    hear(gateways.first, gateways.log.records[0])

    with pytest.raises(TokenEnded):
        await cashing


async def test_S20_whoever_is_told_of_a_logout_is_logged_out() -> None:
    """Before the answer the logout is read back; where that takes too long it is on the log all the same."""
    gateways = Gateways()
    gateways.log.delivers = False
    asking = asyncio.create_task(gateways.first.log_out(ALICE, deadline_s=60))
    await settled()
    assert not asking.done()
    hear(gateways.first, gateways.log.records[0])
    await asking
    await gateways.first.log_out(ALICE, deadline_s=0.01)

    assert len(gateways.log.records) == 2
    assert not gateways.first.leaving


def test_S20_a_slow_log_takes_no_longer_than_it_may() -> None:
    """The time to append and to read back is one: a request that takes longer than it may is never answered."""
    loop = VirtualLoop()

    async def took_s() -> float:
        gateways = Gateways()
        gateways.log.delivers, gateways.log.append_s = False, 1.5
        begun_s = loop.time()
        await gateways.first.log_out(ALICE, deadline_s=2)
        return loop.time() - begun_s

    assert run_virtual(loop, took_s()) == 2.0


async def test_S20_token_from_the_future_is_ended_where_one_gateway_saw_it() -> None:
    """That gateway tells the others, as soon as Kafka answers; one that starts later hears it too."""
    gateways = Gateways()
    ahead = gateways.token(-30)
    gateways.first.tokens.logged_out.saw(ALICE, ahead.issued_at_s, gateways.first.now_s())
    gateways.log.delivers = False
    await gateways.second.log_out(ALICE, deadline_s=0.01)
    gateways.log.reachable = False
    for desk in gateways.log.desks:
        hear(desk, gateways.log.records[0])
    await settled()
    gateways.second.tokens.check(gateways.token(-30))
    assert gateways.first.untold
    gateways.log.reachable = gateways.log.delivers = True
    gateways.first.tick()
    await settled()
    later = gateways.desk()

    for desk in (gateways.first, gateways.second, later):
        with pytest.raises(TokenEnded):
            desk.tokens.check(replace(ahead, place=desk.tokens.logged_out.place))
        desk.tokens.check(replace(gateways.token(-31), place=desk.tokens.logged_out.place))
    assert not gateways.first.untold
    await gateways.first.close()


def test_S3_faulty_tickets() -> None:
    """Expired, tampered, signed by another, an access token in a ticket's clothes, endless."""
    issuer, clock = TicketIssuer(SECRET), VirtualClock()
    now_s = clock.now_us() / 1e6
    token = VerifiedToken(ALICE, now_s + 60, now_s)
    with pytest.raises(TokenExpired):
        issuer.read(issuer.issue(token, now_s))  # by the virtual clock, years ago
    access_token = issue_token(SECRET, "alice", ttl_s=4e9, now_s=now_s)
    claims = {
        "sub": "alice",
        "aud": "tokenwire-ticket",
        "exp": 4e9,
        "jti": "x",
        "issued": "soon",
        "until": 1,
        "place": 0,
    }
    for bad in (
        TicketIssuer(b"t" * 32).issue(token, 4e9),
        issuer.issue(token, 4e9)[:-4] + "AAAA",
        f"ticket.{access_token}",
        "ticket." + jwt.encode(claims, issuer.key, "HS256"),
        "ticket." + jwt.encode(claims | {"issued": 1, "sub": "../x y"}, issuer.key, "HS256"),
        "ticket." + jwt.encode(claims | {"issued": 1, "place": "here"}, issuer.key, "HS256"),
        "ticket.",
        "ticket." + "x" * 65_536,
    ):
        with pytest.raises(TokenInvalid):
            issuer.read(bad)


def test_records_that_do_not_decode_are_passed_over() -> None:
    """Whatever lies on the log, the desk goes on; what is void by its time is forgotten."""
    gateways = Gateways()
    desk = gateways.first
    for value in (None, b"{", b'{"type":"user.logged_out","user":"a b","at_s":1}', b'{"type":"nobody"}'):
        desk.hear_logout(LogRecord(0, 0, b"k", value))
        desk.hear_claim(LogRecord(0, 0, b"k", value))
    claim = TicketUsed(ticket="t", claim="c", expires_at_s=desk.now_s() + TICKET_S)
    desk.hear_claim(LogRecord(1, 0, b"k", encode(claim)))
    log_out_alice(desk)
    desk.tick()
    assert desk.claims.first
    gateways.clock.advance(40 * DAY_S)
    desk.tick()

    assert not desk.claims.first
    assert not desk.tokens.logged_out.logouts


def test_words_count_on_their_own_log_only() -> None:
    """A logout among the tickets ends nothing, a claim among the logouts uses up nothing."""
    desk = Gateways().first
    now_ms = desk.clock.now_us() // 1_000
    logout = encode(UserLoggedOut(user="alice", at_s=desk.now_s()))
    claim = encode(TicketUsed(ticket="t", claim="c", expires_at_s=9e9))
    desk.hear_claim(LogRecord(0, now_ms, b"alice", logout))
    desk.hear_logout(LogRecord(0, now_ms, b"t", claim))

    assert not desk.tokens.logged_out.logouts
    assert not desk.claims.first


class TimedLog(FollowedLog):
    """Finds offsets by time as if nothing had been stamped lately."""

    def __init__(self) -> None:
        super().__init__()
        self.absent: set[tuple[str, int]] = set()

    async def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int:
        return (await self.bounds(topic, partition)).end

    async def bounds(self, topic: str, partition: int) -> LogBounds:
        if (topic, partition) in self.absent:
            raise UnknownLog(topic)
        return await super().bounds(topic, partition)


async def test_reader_reads_logouts_from_the_start_and_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was said before it started counts; a topic that comes later, or is lost, is read from its start."""
    monkeypatch.setattr("gateway.access.access_reader.ACCESS_BACKOFF", Backoff(0.0))
    gateways, log = Gateways(), TimedLog()
    fetching, desk = FollowedLogReader(log), gateways.desk()
    reader = AccessReader(fetching, log, desk, gateways.clock, NAMES)
    log.absent = {(ACCESS, 0)}
    await gateways.first.log_out(ALICE, deadline_s=1)
    (said,) = gateways.log.records
    desk.tokens.logged_out.logouts.clear()
    log.records[ACCESS, 0].append(said)
    await reader.start()
    assert ALICE not in desk.tokens.logged_out.logouts

    log.absent = set()
    await settled()
    assert ALICE in desk.tokens.logged_out.logouts
    assert not reader.missing

    desk.tokens.logged_out.logouts.clear()
    fetching.partitions.lose((ACCESS, 0), "log_lost")
    await settled()
    assert ALICE in desk.tokens.logged_out.logouts

    log.records[TICKETS, 0].append(LogRecord(0, 0, b"t", encode(TicketUsed(ticket="t", claim="c", expires_at_s=9e9))))
    fetching.deliver()
    assert "t" in desk.claims.first
    await reader.stop()
