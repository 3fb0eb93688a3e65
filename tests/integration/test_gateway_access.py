"""Logouts and tickets over a real broker: what one gateway is told, all know.

Covers: schemas.access.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from infra.access_tokens import SecretVerifier
from infra.connect_tickets import TicketIssuer
from infra.embedded.broker import EmbeddedBroker
from infra.sign_in_codes import SignInCodes
from schemas.client_messages import Hello, Logout
from tests.integration.gateway_line import SECRET, WireClient, gateway_settings, post, running_gateway, token_for

USER = "leaver"


async def test_S2_S3_two_gateways_and_one_that_comes_later(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """A ticket opens one of them once; a logout closes both, and holds for a gateway that starts afterwards."""
    settings = await gateway_settings(broker, tmp_path)
    verifier = SecretVerifier(secret=SECRET.encode(), audience="tokenwire", issuer="tokenwire")
    issuer = TicketIssuer(SECRET[::-1].encode())
    async with running_gateway(settings) as first, running_gateway(settings) as second:
        ticket = issuer.issue(verifier.verify(token_for(USER)), time.time())
        async with (
            WireClient.connected(first, None) as here,
            WireClient.connected(second, USER) as there,
            WireClient.connected(second, "stayer") as bystander,
        ):
            await here.send(Hello(token=ticket))
            assert (await here.next("welcome")).user == USER
            async with WireClient.connected(second, None) as replaying:
                await replaying.send(Hello(token=ticket))
                assert (await replaying.closed())[0] == 4401
            old = token_for(USER)
            await there.send(Logout())
            assert (await here.closed())[0] == 4401
            assert (await there.closed())[0] == 4401
            await bystander.send(Hello(token=token_for("stayer")))
            await bystander.next("welcome")
    async with running_gateway(settings) as later, WireClient.connected(later, None) as client:
        await client.send(Hello(token=old))
        assert (await client.next("error")).code == "token_ended"
        assert (await client.closed())[0] == 4401


async def test_S43_code_is_good_once_whatever_is_started_again(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Made before there is a gateway, it is exchanged by the first; those started afterwards know that it was used."""
    settings = await gateway_settings(broker, tmp_path)
    codes = SignInCodes.from_settings(settings)
    assert codes is not None
    early, unused = (codes.issue("opener", ttl_s=60, now_s=time.time()) for _ in range(2))
    async with running_gateway(settings) as port:
        first = await post(port, "/v1/token", early)
    async with running_gateway(settings) as port:
        again, other = await post(port, "/v1/token", early), await post(port, "/v1/token", unused)
        async with WireClient.connected(port, None) as client:
            await client.send(Hello(token=json.loads(first[1])["token"]))
            assert (await client.next("welcome")).user == "opener"

    assert (first[0], again[0], other[0]) == (200, 401, 200)
    assert "has been used" in again[1]
