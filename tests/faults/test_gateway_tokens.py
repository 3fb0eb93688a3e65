"""Tokens on live sockets: their end, their renewal, keys from a file, and pages of other origins."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from websockets.exceptions import InvalidStatus

from infra.access_tokens import SecretVerifier
from infra.clock import SystemClock
from infra.token_keys import KeySetVerifier
from schemas.client_messages import Attach, Hello
from tests.faults.memory_gateway import MemoryGateway
from tests.integration.gateway_line import SECRET, WireClient, answer_events, token_for

EXACT = SecretVerifier(secret=SECRET.encode(), audience="tokenwire", issuer="tokenwire", leeway_s=0)
CLOSED_S_MAX = 5.0


async def test_S2_expired_token_ends_an_open_socket(tmp_path: Path) -> None:
    """4401 within seconds of the token's end, not before."""
    async with (
        MemoryGateway.opened(tmp_path, tokens=EXACT) as gateway,
        WireClient.connected(gateway.port, None) as client,
    ):
        expires_at_s = int(time.time()) + 2
        await client.send(Hello(token=token_for("alice", ttl_s=expires_at_s - time.time())))
        await client.next("welcome")
        code, words = await client.closed()

        assert code == 4401
        assert words is not None
        assert expires_at_s - 1 <= time.time() <= expires_at_s + CLOSED_S_MAX


async def test_S2_refreshed_token_keeps_the_socket(tmp_path: Path) -> None:
    """A second hello with a newer token: sessions go on as if nothing had been."""
    async with (
        MemoryGateway.opened(tmp_path, tokens=EXACT) as gateway,
        WireClient.connected(gateway.port, None) as client,
    ):
        short_until_s = int(time.time()) + 2
        await client.send(Hello(token=token_for("alice", ttl_s=short_until_s - time.time())))
        await client.send(Attach(session="s1"))
        await client.until("attached")
        await client.send(Hello(token=token_for("alice")))
        await client.until("welcome")
        while time.time() < short_until_s + 1:  # noqa: ASYNC110 - what is waited for is the clock itself
            await asyncio.sleep(0.1)
        await gateway.append("s1", answer_events("t1", ["fine"]))

        assert (await client.until("end")).reason == "complete"


async def test_S1_keys_from_a_file(tmp_path: Path) -> None:
    """A token of the key's holder opens, by hello and by header; one by the shared secret does not."""
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [RSAAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": "one"}]}))
    keys = KeySetVerifier(file, SystemClock(), audience="tokenwire", issuer="tokenwire")
    claims = {"sub": "alice", "aud": "tokenwire", "iss": "tokenwire", "exp": int(time.time()) + 60}
    good = jwt.encode(claims, key, "RS256", {"kid": "one"})
    async with MemoryGateway.opened(tmp_path, tokens=keys) as gateway:
        async with WireClient.connected(gateway.port, None) as client:
            await client.send(Hello(token=good))
            assert (await client.next("welcome")).user == "alice"
        header = {"Authorization": f"Bearer {good}"}
        async with WireClient.connected(gateway.port, None, additional_headers=header) as client:
            await client.send(Hello())
            await client.next("welcome")
        async with WireClient.connected(gateway.port, None) as client:
            await client.send(Hello(token=token_for("alice")))
            assert (await client.closed())[0] == 4401


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "http://127.0.0.1:{port}.evil.example",
        "https://127.0.0.1:{port}",
        "http://127.0.0.1:1",
        "http://evil.example",
    ],
    ids=["null", "look_alike_suffix", "other_scheme", "other_port", "other_host"],
)
async def test_S5_pages_of_other_origins(tmp_path: Path, origin: str) -> None:
    """403 before the upgrade; the gateway's own page and programs without an origin come in."""
    async with MemoryGateway.opened(tmp_path) as gateway:
        with pytest.raises(InvalidStatus) as refused:
            async with WireClient.connected(gateway.port, origin=origin.format(port=gateway.port)):
                pass
        async with WireClient.connected(gateway.port, origin=f"http://localhost:{gateway.port}"):
            pass
        async with WireClient.connected(gateway.port):
            pass

        assert refused.value.response.status_code == 403
