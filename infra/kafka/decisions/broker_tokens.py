"""What an access token for the brokers is worth now, and what a token endpoint's answer means (RFC 6749).

A token is handed out as long as it lives. From RENEW_SHARE of its life on, whoever asks also sets off the fetch of its
successor and does not wait for it: a slow or absent endpoint costs nobody anything before the old token's end. Why not
simply at its end: brokers close a session when its token ends, so all of a process's connections ask in that instant.

What an endpoint says is a stranger's: its length is bounded by the reader, the token must be of RFC 6750's characters
(it is spliced into SASL's message, where a control character would begin another field), and of its errors only the
short code is repeated.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

import msgspec

__all__ = [
    "LIFE_UNSAID_S",
    "RENEW_SHARE",
    "BrokerToken",
    "GrantRefused",
    "TokenState",
    "read_grant",
    "token_state",
]

RENEW_SHARE: Final = 0.8
LIFE_UNSAID_S: Final = 60.0
"""Life of a token whose endpoint does not say: asked for again soon."""
LIFE_S_MAX: Final = 7 * 86_400.0
TOKEN_CHARACTERS: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")
ERROR_CODE: Final = re.compile(r"[a-z_]{1,64}")
OK: Final = 200
REDIRECTS: Final = range(300, 400)

TokenState: TypeAlias = Literal["fresh", "ageing", "ended"]


@dataclass(frozen=True, slots=True)
class BrokerToken:
    """A bearer token; times are seconds since 1970."""

    value: str = field(repr=False)
    issued_s: float
    expires_s: float


@dataclass(frozen=True, slots=True)
class GrantRefused:
    """No token, and why: a sentence."""

    sentence: str


class GrantBody(msgspec.Struct):
    """What of the answer matters. Some endpoints write numbers as strings."""

    access_token: str
    token_type: str = "bearer"
    expires_in: float | None = None


class ErrorBody(msgspec.Struct):
    """An error as RFC 6749 has it."""

    error: str = ""


def token_state(token: BrokerToken, now_s: float) -> TokenState:
    """Whether to hand a token out, and whether to fetch the next one.

    Before its issue, since a clock was set back, it counts as ended.
    """
    if not token.issued_s <= now_s < token.expires_s:
        return "ended"
    renew_s = token.issued_s + RENEW_SHARE * (token.expires_s - token.issued_s)
    return "fresh" if now_s < renew_s else "ageing"


def read_grant(status: int, body: bytes, now_s: float) -> BrokerToken | GrantRefused:
    """The token in an endpoint's answer, which was asked for at `now_s`."""
    if status in REDIRECTS:
        return GrantRefused(f"the token endpoint redirects ({status}): correct TOKENWIRE_KAFKA_OAUTH_URL")
    if status != OK:
        return GrantRefused(refusal(status, body))
    try:
        grant = msgspec.json.decode(body, type=GrantBody, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return GrantRefused("the token endpoint's answer holds no access_token: check TOKENWIRE_KAFKA_OAUTH_URL")
    if grant.token_type.lower() != "bearer" or not TOKEN_CHARACTERS.fullmatch(grant.access_token):
        return GrantRefused("what the token endpoint gave is no bearer token: check TOKENWIRE_KAFKA_OAUTH_URL")
    life_s = LIFE_UNSAID_S if grant.expires_in is None else min(grant.expires_in, LIFE_S_MAX)
    if not life_s > 0:
        return GrantRefused("the token endpoint gave a token that has ended already")
    return BrokerToken(grant.access_token, now_s, now_s + life_s)


def refusal(status: int, body: bytes) -> str:
    try:
        code = msgspec.json.decode(body, type=ErrorBody).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        code = ""
    said = f"status {status}, {code}" if ERROR_CODE.fullmatch(code) else f"status {status}"
    return (
        f"the token endpoint gave no token ({said}): check TOKENWIRE_KAFKA_OAUTH_CLIENT_ID, _CLIENT_SECRET, _SCOPE and "
        "_AUDIENCE"
    )
