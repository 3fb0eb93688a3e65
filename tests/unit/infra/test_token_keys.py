"""Access tokens verified by the public keys of a JWKS file."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from infra.access_tokens import TOKEN_CHARS_MAX, TokenError, TokenExpired, TokenInvalid, TokenMissing
from infra.token_keys import LOOK_S, KeyFileFaulty, KeySetVerifier
from tests.fakes.virtual_clock import VirtualClock

FAR_S = 4_000_000_000
RSA_KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
OTHER_RSA_KEY = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
CLAIMS = {"sub": "alice", "aud": "tokenwire", "iss": "tokenwire", "exp": FAR_S}


def entry(key: Any, key_id: str, **changes: Any) -> dict[str, Any]:
    algorithm = RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else ECAlgorithm
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": key_id, **changes}


def key_file(folder: Path, *entries: dict[str, Any]) -> Path:
    file = folder / "keys.json"
    file.write_text(json.dumps({"keys": entries}))
    return file


def verifier(file: Path, clock: VirtualClock | None = None) -> KeySetVerifier:
    return KeySetVerifier(file, clock or VirtualClock(), audience="tokenwire", issuer="tokenwire", leeway_s=0)


def token(key: Any = RSA_KEY, algorithm: str = "RS256", key_id: str = "one", **claims: Any) -> str:
    return jwt.encode(CLAIMS | claims, key, algorithm=algorithm, headers={"kid": key_id})


@pytest.fixture
def both(tmp_path: Path) -> KeySetVerifier:
    """One RSA key and one EC key."""
    return verifier(key_file(tmp_path, entry(RSA_KEY, "one"), entry(EC_KEY, "two")))


def test_each_key_with_its_own_algorithm(both: KeySetVerifier) -> None:
    """RS256 and ES256, chosen by kid."""
    assert both.verify(token()).user == "alice"
    assert both.verify(token(EC_KEY, "ES256", "two")).expires_at_s == FAR_S


def encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def deep_claims() -> str:
    """Well signed, by whoever has the key."""
    return str(jwt.api_jws.encode(b"[" * 5_000, RSA_KEY, algorithm="RS256", headers={"kid": "one"}))


def with_header(**header: Any) -> str:
    return jwt.encode(CLAIMS, RSA_KEY, algorithm="RS256", headers={"kid": "one", **header})


PUBLIC_PEM = RSA_KEY.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)


def part(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def signed_with_public_key() -> str:
    """HS256 with what everybody knows; made by hand, since the library refuses to."""
    header = part(json.dumps({"alg": "HS256", "kid": "one"}).encode())
    signed = header + b"." + part(json.dumps(CLAIMS).encode())
    return (signed + b"." + part(hmac.digest(PUBLIC_PEM, signed, "sha256"))).decode()


REFUSED: dict[str, tuple[Callable[[], str], type[TokenError]]] = {
    "expired": (lambda: token(exp=1_000), TokenExpired),
    "not_yet_valid": (lambda: token(nbf=FAR_S - 10), TokenInvalid),
    "other_audience": (lambda: token(aud="another"), TokenInvalid),
    "other_issuer": (lambda: token(iss="another"), TokenInvalid),
    "no_audience": (lambda: jwt.encode({"sub": "alice", "exp": FAR_S}, RSA_KEY, "RS256", {"kid": "one"}), TokenInvalid),
    "none": (lambda: jwt.encode(CLAIMS, "", algorithm="none", headers={"kid": "one"}), TokenInvalid),
    "public_key_as_secret": (signed_with_public_key, TokenInvalid),
    "other_algorithm_of_the_key": (lambda: token(algorithm="RS384"), TokenInvalid),
    "other_key": (lambda: token(OTHER_RSA_KEY), TokenInvalid),
    "key_of_the_other_kind": (lambda: token(key_id="two"), TokenInvalid),
    "kid_like_a_path": (lambda: token(key_id="../../etc/passwd"), TokenInvalid),
    "no_kid_among_several": (lambda: jwt.encode(CLAIMS, RSA_KEY, "RS256"), TokenInvalid),
    "critical_extension": (lambda: with_header(crit=["x"], x=1), TokenInvalid),
    "its_own_key_inside": (
        lambda: jwt.encode(CLAIMS, OTHER_RSA_KEY, "RS256", {"kid": "x", "jwk": entry(OTHER_RSA_KEY, "x")}),
        TokenInvalid,
    ),
    "user_beyond_the_limits": (lambda: token(sub="a" * 5_000), TokenInvalid),
    "huge": (lambda: "x" * (TOKEN_CHARS_MAX + 1), TokenInvalid),
    "nonsense": (lambda: "a.b.c", TokenInvalid),
    "deep_header": (lambda: f"{encoded(b'[' * 6_000)}.e30.x", TokenInvalid),
    "deep_claims": (lambda: deep_claims(), TokenInvalid),
    "endless_times": (lambda: token(exp=float("inf"), iat=float("inf")), TokenInvalid),
    "empty": (lambda: "", TokenMissing),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_S1_tokens_that_do_not_open(both: KeySetVerifier, name: str) -> None:
    """Refused, with a sentence that does not repeat the token."""
    make, expected = REFUSED[name]
    sent = make()
    with pytest.raises(TokenError) as refused:
        both.verify(sent)

    assert type(refused.value) is expected
    assert not sent or sent not in str(refused.value)


def test_a_changed_file_is_taken_after_a_while(tmp_path: Path) -> None:
    """Keys are rotated without a restart; the removed one opens nothing any more."""
    clock = VirtualClock()
    keys = verifier(key_file(tmp_path, entry(RSA_KEY, "one")), clock)
    key_file(tmp_path, entry(EC_KEY, "two"))
    assert keys.verify(token()).user == "alice"
    clock.advance(LOOK_S + 1)

    assert keys.verify(token(EC_KEY, "ES256", "two")).user == "alice"
    with pytest.raises(TokenInvalid):
        keys.verify(token())


DEEP = '{"keys": ' + "[" * 100_000


@pytest.mark.parametrize("content", [None, "{", '{"keys": []}', DEEP], ids=["gone", "broken", "empty", "deep"])
def test_a_file_that_broke_leaves_the_keys(tmp_path: Path, content: str | None) -> None:
    """Nobody is shut out by a half-written file."""
    clock = VirtualClock()
    file = key_file(tmp_path, entry(RSA_KEY, "one"))
    keys = verifier(file, clock)
    file.unlink() if content is None else file.write_text(content)
    clock.advance(LOOK_S + 1)

    assert keys.verify(token()).user == "alice"


SMALL = rsa.generate_private_key(public_exponent=65_537, key_size=1_024)
PRIVATE = RSAAlgorithm.to_jwk(RSA_KEY, as_dict=True) | {"kid": "one"}
FAULTY: dict[str, list[Any]] = {
    "private_key": [PRIVATE],
    "shared_secret": [{"kty": "oct", "k": "c2VjcmV0", "kid": "one"}],
    "other_curve": [entry(ec.generate_private_key(ec.SECP384R1()), "one")],
    "other_algorithm": [entry(RSA_KEY, "one", alg="RS512")],
    "for_encryption": [entry(RSA_KEY, "one", use="enc")],
    "small": [entry(SMALL, "one")],
    "twice": [entry(RSA_KEY, "one"), entry(EC_KEY, "one")],
    "without_kid_among_several": [entry(RSA_KEY, "one"), entry(EC_KEY, "")],
    "no_object": ["key"],
    "kid_that_is_a_list": [entry(RSA_KEY, "one", kid=["one"])],
    "kid_that_is_an_object": [entry(RSA_KEY, "one"), entry(EC_KEY, "two", kid={})],
    "kind_that_is_a_list": [entry(RSA_KEY, "one", kty=["RSA"])],
    "curve_that_is_an_object": [entry(EC_KEY, "one", crv={"P-256": 1})],
    "numbers_that_are_objects": [entry(RSA_KEY, "one", n={}, e=[])],
    "numbers_that_are_numbers": [entry(EC_KEY, "one", x=1, y=1e300)],
    "no_key": [{"kty": "RSA", "kid": "one", "n": "!", "e": "!"}],
}


@pytest.mark.parametrize("name", list(FAULTY))
def test_files_that_cannot_be_used(tmp_path: Path, name: str) -> None:
    """An error at the start that names setting and place, and shows no key."""
    with pytest.raises(KeyFileFaulty, match="TOKENWIRE_AUTH_JWKS") as faulty:
        verifier(key_file(tmp_path, *FAULTY[name]))

    assert "c2VjcmV0" not in str(faulty.value)


def test_file_that_nests_too_deep(tmp_path: Path) -> None:
    """Refused at the start like any other faulty one."""
    file = tmp_path / "keys.json"
    file.write_text(DEEP)
    with pytest.raises(KeyFileFaulty, match="TOKENWIRE_AUTH_JWKS"):
        verifier(file)


def test_file_that_is_not_there(tmp_path: Path) -> None:
    """Named, with what to do."""
    with pytest.raises(KeyFileFaulty, match="name a JWKS file"):
        verifier(tmp_path / "nothing.json")
