"""Access tokens: ours open, and nothing else does."""

from __future__ import annotations

import time

import jwt
import pytest

from infra.access_tokens import TokenError, TokenExpired, TokenInvalid, TokenMissing, issue_token, verify_token
from schemas.errors import InvalidField

SECRET = b"s" * 32
NOW_S = time.time()


def forged(**changes: object) -> str:
    claims: dict[str, object] = {"sub": "alice", "aud": "tokenwire", "iss": "tokenwire", "exp": int(NOW_S) + 600}
    claims |= changes
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, SECRET, algorithm="HS256")


def test_issued_token_names_its_user_and_end() -> None:
    """What was issued is verified, with the user and the expiry."""
    verified = verify_token(SECRET, issue_token(SECRET, "alice", ttl_s=600, now_s=NOW_S))

    assert verified.user == "alice"
    assert verified.expires_at_s == int(NOW_S + 600)


def test_expired_within_the_leeway() -> None:
    """Clocks may differ by a minute."""
    now_s = time.time()  # not the module's: the tests before this one may take longer than the leeway
    assert verify_token(SECRET, issue_token(SECRET, "alice", ttl_s=-30, now_s=now_s)).user == "alice"
    with pytest.raises(TokenExpired):
        verify_token(SECRET, issue_token(SECRET, "alice", ttl_s=-120, now_s=now_s))


@pytest.mark.parametrize(
    "token",
    [
        forged(exp=None),
        forged(aud=None),
        forged(aud="another"),
        forged(iss=None),
        forged(sub=None),
        forged(sub=""),
        forged(sub="../x"),
        forged(sub=7),
        forged(sub="x" * 300),
        jwt.encode({"sub": "alice", "aud": "tokenwire", "iss": "tokenwire", "exp": 2**40}, "", algorithm="none"),
        jwt.encode({"sub": "alice", "aud": "tokenwire", "iss": "tokenwire", "exp": 2**40}, SECRET * 2, "HS512"),
        issue_token(b"t" * 32, "alice", ttl_s=600, now_s=NOW_S),
        "a.b.c",
        "\ud800",
        "x" * 9_000,
    ],
)
def test_token_that_is_not_ours(token: str) -> None:
    """Refused with a remedy, and never repeated in the message."""
    with pytest.raises(TokenInvalid) as refused:
        verify_token(SECRET, token)

    assert "tokenwire token" in str(refused.value)
    assert token not in str(refused.value)


def test_no_token() -> None:
    """Missing is not invalid."""
    with pytest.raises(TokenMissing):
        verify_token(SECRET, "")
    assert issubclass(TokenMissing, TokenError)


def test_token_for_a_strange_user() -> None:
    """A user id outside the limits gets no token."""
    with pytest.raises(InvalidField):
        issue_token(SECRET, "../x", ttl_s=600, now_s=NOW_S)
