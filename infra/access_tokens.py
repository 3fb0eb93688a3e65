"""Access tokens: who a client is, for a limited time. JWT signed with HS256, and nothing else is accepted.

The algorithm is fixed, `aud`, `iss`, `exp` and `sub` are required, `sub` must be a user id, and clocks may differ by
a minute. A token that is refused says why in a code for programs and a sentence for people, and never repeats itself.

    TokenError
    ├── TokenMissing     none was sent
    ├── TokenExpired     it was good once
    └── TokenInvalid     not ours: signature, algorithm, audience, issuer, shape or user id
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import jwt

from schemas.errors import InvalidField
from schemas.identifiers import UserId, check_user_id

__all__ = [
    "TOKEN_CHARS_MAX",
    "TokenError",
    "TokenExpired",
    "TokenInvalid",
    "TokenMissing",
    "VerifiedToken",
    "issue_token",
    "verify_token",
]

ALGORITHM: Final = "HS256"
TOKEN_CHARS_MAX: Final = 8_192
LEEWAY_S: Final = 60
REMEDY: Final = "get a new one with `tokenwire token --user NAME`"


class TokenError(Exception):
    """The token does not open the door."""

    code: ClassVar[str] = "bad_token"


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
    """Who it is, and until when (seconds since 1970)."""

    user: UserId
    expires_at_s: float


def issue_token(
    secret: bytes, user: str, *, ttl_s: float, now_s: float, audience: str = "tokenwire", issuer: str = "tokenwire"
) -> str:
    """A token for `user`, good until `now_s + ttl_s`. Raises InvalidField for a user id outside the limits."""
    claims = {"sub": check_user_id(user), "aud": audience, "iss": issuer, "iat": int(now_s), "exp": int(now_s + ttl_s)}
    return jwt.encode(claims, secret, algorithm=ALGORITHM)


def verify_token(secret: bytes, token: str, *, audience: str = "tokenwire", issuer: str = "tokenwire") -> VerifiedToken:
    """Who the token belongs to. Raises TokenMissing, TokenExpired, TokenInvalid."""
    if not token:
        raise TokenMissing(f"no token was sent; {REMEDY}")
    if len(token) > TOKEN_CHARS_MAX:
        raise TokenInvalid(f"the token is longer than {TOKEN_CHARS_MAX} characters; {REMEDY}")
    try:
        claims = jwt.decode(
            token,
            secret,
            algorithms=[ALGORITHM],
            audience=audience,
            issuer=issuer,
            leeway=LEEWAY_S,
            options={"require": ["exp", "sub", "aud", "iss"]},
        )
        return VerifiedToken(check_user_id(claims["sub"]), float(claims["exp"]))
    except jwt.ExpiredSignatureError:
        raise TokenExpired(f"the token has expired; {REMEDY}") from None
    except (jwt.PyJWTError, InvalidField, UnicodeError):
        raise TokenInvalid(f"the token is not valid here; {REMEDY}") from None
