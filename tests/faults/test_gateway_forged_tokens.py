"""Row S1 against a real gateway: no forged token opens it, the log says why, and nobody's token is in the log."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from websockets.exceptions import InvalidStatus

from schemas.client_messages import Hello
from tests.faults.child_gateway import ChildGateway
from tests.integration.gateway_line import SECRET, WireClient, token_for

ROOT: Final = Path(__file__).resolve().parents[2]
REFUSED_S_MAX: Final = 1.0
START_S_MAX: Final = 20.0
KEY: Final = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
FORGER: Final = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
PUBLIC_PEM: Final = KEY.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)
CLAIMS: Final[dict[str, Any]] = {
    "sub": "alice",
    "aud": "tokenwire",
    "iss": "tokenwire",
    "exp": 4_000_000_000,
    "iat": 1_000_000_000,
}
PIECE_CHARS: Final = 24
"""So much of a token in the log would be the token."""


def published(key: rsa.RSAPrivateKey, key_id: str = "one") -> dict[str, Any]:
    return RSAAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": key_id}


def rs256(
    key: rsa.RSAPrivateKey = KEY, key_id: str = "one", *, alg: str = "RS256", claims: Any = None, **more: Any
) -> str:
    return jwt.encode(CLAIMS | (claims or {}), key, alg, {"kid": key_id, **more})


def hs256(secret: str = SECRET, *, claims: Any = None, **header: Any) -> str:
    return jwt.encode(CLAIMS | (claims or {}), secret, "HS256", header)


def signed_with_the_public_key() -> str:
    """HS256 with what everybody knows; made by hand, since the library refuses to."""
    header, claims = (
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in ({"alg": "HS256", "kid": "one"}, CLAIMS)
    )
    signature = hmac.digest(PUBLIC_PEM, header + b"." + claims, "sha256")
    return b".".join((header, claims, base64.urlsafe_b64encode(signature).rstrip(b"="))).decode()


Forged = dict[str, tuple[Callable[[str], str], str]]
"""What is forged: the token, given the address of the forger's own keys, and the reason that the log must give."""

AGAINST_KEYS: Final[Forged] = {
    "expired": (lambda _: rs256(claims={"exp": 1_000}), "token_expired"),
    "not_yet_valid": (lambda _: rs256(claims={"nbf": 4_000_000_000}), "not_yet_valid"),
    "other_audience": (lambda _: rs256(claims={"aud": "another"}), "audience"),
    "other_issuer": (lambda _: rs256(claims={"iss": "another"}), "issuer"),
    "none": (lambda _: jwt.encode(CLAIMS, "", "none", {"kid": "one"}), "algorithm"),
    "public_key_as_secret": (lambda _: signed_with_the_public_key(), "algorithm"),
    "shared_secret": (lambda _: hs256(kid="one"), "algorithm"),
    "other_algorithm": (lambda _: rs256(alg="RS512"), "algorithm"),
    "other_key": (lambda _: rs256(FORGER), "signature"),
    "kid_is_a_path": (lambda _: rs256(key_id="../../../../dev/null"), "key_id"),
    "kid_is_sql": (lambda _: rs256(key_id="x' UNION SELECT 'key"), "key_id"),
    "kid_is_unknown": (lambda _: rs256(FORGER, "forged"), "key_id"),
    "unknown_crit": (lambda _: rs256(crit=["x"], x=1), "malformed"),
    "embedded_jwk": (lambda _: rs256(FORGER, jwk=published(FORGER)), "signature"),
    "embedded_jwk_with_its_kid": (lambda _: rs256(FORGER, "forged", jwk=published(FORGER, "forged")), "key_id"),
    "jku": (lambda url: rs256(FORGER, jku=url), "signature"),
    "jku_with_its_kid": (lambda url: rs256(FORGER, "forged", jku=url), "key_id"),
    "x5u": (lambda url: rs256(FORGER, x5u=url), "signature"),
    "user_beyond_the_limits": (lambda _: rs256(claims={"sub": "../alice"}), "user"),
    "sixty_thousand_characters": (lambda _: rs256(claims={"more": "x" * 44_000}), "length"),
    "no_token_at_all": (lambda _: "nonsense", "malformed"),
}
AGAINST_SECRET: Final[Forged] = {
    "expired": (lambda _: hs256(claims={"exp": 1_000}), "token_expired"),
    "other_secret": (lambda _: hs256("another secret that is just as long as ours, and longer"), "signature"),
    "none": (lambda _: jwt.encode(CLAIMS, "", "none"), "algorithm"),
    "rs256": (lambda _: rs256(), "algorithm"),
    "hs512": (lambda _: jwt.encode(CLAIMS, SECRET * 2, "HS512"), "algorithm"),
    "unknown_crit": (lambda _: hs256(crit=["x"], x=1), "malformed"),
    "embedded_jwk": (lambda _: rs256(FORGER, jwk=published(FORGER)), "algorithm"),
    "jku": (lambda url: rs256(FORGER, jku=url), "algorithm"),
    "kid_is_a_path": (lambda _: hs256("\0" * 40, kid="../../../../dev/zero"), "signature"),
    "no_audience": (lambda _: jwt.encode({"sub": "alice", "exp": 4e9}, SECRET, "HS256"), "claim_missing"),
}


@asynccontextmanager
async def forgers_keys() -> AsyncIterator[tuple[str, list[bytes]]]:
    """An address where the forger's public keys can be had, and who asked for them."""
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        body = json.dumps({"keys": [published(FORGER), published(FORGER, "forged")]}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys.json", asked
    finally:
        server.close()


@pytest.mark.parametrize("kind", ["keys", "secret"])
async def test_S1_forged_tokens_at_a_gateway(tmp_path: Path, kind: str) -> None:
    """4401 by hello, 401 before the upgrade by header, within a second; the log has the reason and no token."""
    jwks = tmp_path / "keys.json"
    jwks.write_text(json.dumps({"keys": [published(KEY)]}))
    forged, good = (AGAINST_KEYS, rs256(claims={"iat": int(time.time())})) if kind == "keys" else (AGAINST_SECRET, "")
    sent: list[str] = [good or token_for("alice")]
    async with (
        ChildGateway.opened(tmp_path, jwks=jwks if good else None) as gateway,
        forgers_keys() as (address, asked),
    ):
        async with WireClient.connected(gateway.port, None) as client:
            await client.send(Hello(token=sent[0]))
            await client.next("welcome")
        for name, (make, reason) in forged.items():
            token = make(address)
            sent.append(token)
            seen = await by_hello(gateway.port, token), await by_header(gateway.port, token)
            assert seen == (4401, 431 if len(token) > 8_000 else 401), name
            wanted = [reason] if len(token) > 8_000 else [reason, reason]
            assert reasons(gateway.log)[-len(wanted) :] == wanted, name

    written = gateway.log.read_text()
    assert asked == []
    assert len(reasons(gateway.log)) == sum(1 if len(token) > 8_000 else 2 for token in sent[1:])
    for token in sent:
        for part in (part for part in token.split(".") if len(part) > PIECE_CHARS):
            assert part[:PIECE_CHARS] not in written
            assert part[-PIECE_CHARS:] not in written


async def test_S1_token_larger_than_a_frame(tmp_path: Path) -> None:
    """64 KB: the frame is refused by its length before it is read, and nothing of it is in the log."""
    token = rs256(claims={"more": "x" * 60_000})
    async with ChildGateway.opened(tmp_path) as gateway, WireClient.connected(gateway.port, None) as client:
        await client.send(Hello(token=token))

        assert (await client.closed())[0] == 1009
        assert token[:PIECE_CHARS] not in gateway.log.read_text()


async def by_hello(port: int, token: str) -> int:
    """The close code."""
    async with asyncio.timeout(REFUSED_S_MAX), WireClient.connected(port, None) as client:
        await client.send(Hello(token=token))
        error = await client.next("error")
        assert token not in error.message
        return (await client.closed())[0]


async def by_header(port: int, token: str) -> int:
    """The status before the upgrade."""
    with pytest.raises(InvalidStatus) as refused:
        async with (
            asyncio.timeout(REFUSED_S_MAX),
            WireClient.connected(port, None, additional_headers={"Authorization": f"Bearer {token}"}),
        ):
            pass
    assert token.encode() not in (refused.value.response.body or b"")
    return refused.value.response.status_code


def reasons(log: Path) -> list[str]:
    """Why tokens were refused, by the log."""
    entries = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [entry["reason"] for entry in entries if entry["event"] == "token_refused"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read (No such file or directory); name a JWKS file"),
        ("{", 'must be {"keys": […]}'),
        (json.dumps({"keys": [published(KEY) | {"d": "AAAA"}]}), "is a secret; leave only public keys there"),
    ],
    ids=["missing", "broken", "private"],
)
async def test_S1_gateway_does_not_start_on_a_faulty_file_of_keys(
    tmp_path: Path, content: str | None, words: str
) -> None:
    """One sentence that names the setting, the file and the remedy; no trace, no key, and a code that is not 0."""
    jwks = tmp_path / "keys.json"
    if content is not None:
        jwks.write_text(content)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "tokenwire", "gateway"),
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("TOKENWIRE_")},
            "TOKENWIRE_HOME": str(tmp_path / "home"),
            "TOKENWIRE_KAFKA": "127.0.0.1:1",
            "TOKENWIRE_AUTH_JWKS": str(jwks),
            "PYTHONPATH": str(ROOT),
        },
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(START_S_MAX):
        out, err = await process.communicate()

    assert process.returncode == 1
    assert out == b""
    (sentence,) = err.decode().splitlines()
    assert sentence.startswith("Error: TOKENWIRE_AUTH_JWKS: ")
    assert str(jwks) in sentence
    assert words in sentence
    assert "AAAA" not in sentence
