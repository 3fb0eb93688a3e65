"""Access tokens: who a client is, for a limited time. JWT with one fixed algorithm per key.

With a secret it is HS256 (here), with a set of public keys RS256 or ES256 by the key's kind (`infra/token_keys.py`);
what a token's header says about its algorithm or its key is never believed. `aud`, `iss`, `exp` and `sub` are
required, `sub` must be a user id, and clocks may differ by `leeway_s`. A token that is refused says why in a code for
programs and a sentence for people, and never repeats itself. Which check failed (`reason`) is for the log alone: it
would show whoever forges tokens the way.

    TokenError
    ├── TokenMissing     none was sent
    ├── TokenExpired     it was good once
    └── TokenInvalid     not ours: signature, algorithm, audience, issuer, shape or user id
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol

import jwt

from schemas.errors import InvalidField
from schemas.identifiers import UserId, check_user_id

__all__ = [
    "LEEWAY_S",
    "TOKEN_CHARS_MAX",
    "SecretVerifier",
    "TokenError",
    "TokenExpired",
    "TokenInvalid",
    "TokenMissing",
    "TokenVerifier",
    "VerifiedToken",
    "check_length",
    "checked_claims",
    "issue_token",
    "reason_of",
    "verify_token",
]

ALGORITHM: Final = "HS256"
TOKEN_CHARS_MAX: Final = 8_192
LEEWAY_S: Final = 60
REMEDY: Final = "get a new one with `tokenwire token --user NAME`"
REASONS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (jwt.InvalidSignatureError, "signature"),
    (jwt.ImmatureSignatureError, "not_yet_valid"),
    (jwt.InvalidAudienceError, "audience"),
    (jwt.InvalidIssuerError, "issuer"),
    (jwt.InvalidIssuedAtError, "issued_at"),
    (jwt.InvalidAlgorithmError, "algorithm"),
    (jwt.MissingRequiredClaimError, "claim_missing"),
    (InvalidField, "user"),
)
"""The most special first; anything else is `malformed`."""


class TokenError(Exception):
    """The token does not open the door."""

    code: ClassVar[str] = "bad_token"

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason or self.code
        """Which check failed, in a word, for the log."""


class TokenMissing(TokenError):
    """No token came with the request."""

    code = "token_missing"


class TokenExpired(TokenError):
    """The token was ours, but its time is over."""

    code = "token_expired"


class TokenInvalid(TokenError):
    """The token is not ours or names no user."""

    code = "token_invalid"


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """Who it is, until when, and since when (seconds since 1970; 0: it does not say)."""

    user: UserId
    expires_at_s: float
    issued_at_s: float = 0.0
    place: int = 0
    """How far the log of logouts had been heard when it was verified (`gateway.access.decisions.logged_out`)."""


def issue_token(
    secret: bytes, user: str, *, ttl_s: float, now_s: float, audience: str = "tokenwire", issuer: str = "tokenwire"
) -> str:
    """A token for `user`, good until `now_s + ttl_s`. Raises InvalidField for a user id outside the limits."""
    claims = {"sub": check_user_id(user), "aud": audience, "iss": issuer, "iat": int(now_s), "exp": int(now_s + ttl_s)}
    return jwt.encode(claims, secret, algorithm=ALGORITHM)


class TokenVerifier(Protocol):
    """Knows the keys that open the door."""

    @property
    def leeway_s(self) -> float:
        """Clocks may differ by so much."""
        ...

    def verify(self, token: str) -> VerifiedToken:
        """Who the token belongs to. Raises TokenMissing, TokenExpired, TokenInvalid."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretVerifier:
    """A `TokenVerifier` with one secret that all gateways share (HS256)."""

    secret: bytes
    audience: str
    issuer: str
    leeway_s: float = LEEWAY_S

    def verify(self, token: str) -> VerifiedToken:
        """See `TokenVerifier.verify`."""
        return verify_token(self.secret, token, audience=self.audience, issuer=self.issuer, leeway_s=self.leeway_s)


def verify_token(
    secret: bytes,
    token: str,
    *,
    audience: str = "tokenwire",
    issuer: str = "tokenwire",
    leeway_s: float = LEEWAY_S,
) -> VerifiedToken:
    """Who the token belongs to. Raises TokenMissing, TokenExpired, TokenInvalid."""
    check_length(token)
    return checked_claims(token, secret, ALGORITHM, audience=audience, issuer=issuer, leeway_s=leeway_s)


def check_length(token: str) -> None:
    """Raises TokenMissing, TokenInvalid."""
    if not token:
        raise TokenMissing(f"no token was sent; {REMEDY}")
    if len(token) > TOKEN_CHARS_MAX:
        raise TokenInvalid(f"the token is longer than {TOKEN_CHARS_MAX} characters; {REMEDY}", reason="length")


def reason_of(error: Exception) -> str:
    """Which check failed, in a word, by what was raised."""
    return next((word for kind, word in REASONS if isinstance(error, kind)), "malformed")


def checked_claims(
    token: str, key: Any, algorithm: str, *, audience: str, issuer: str, leeway_s: float
) -> VerifiedToken:
    """What the token says, if this key signed it with this algorithm. Raises TokenExpired, TokenInvalid."""
    try:
        claims = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=audience,
            issuer=issuer,
            leeway=leeway_s,
            options={"require": ["exp", "sub", "aud", "iss"]},
        )
        return VerifiedToken(check_user_id(claims["sub"]), float(claims["exp"]), float(claims.get("iat", 0)))
    except jwt.ExpiredSignatureError:
        raise TokenExpired(f"the token has expired; {REMEDY}") from None
    except (jwt.PyJWTError, InvalidField, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise TokenInvalid(f"the token is not valid here; {REMEDY}", reason=reason_of(error)) from None
