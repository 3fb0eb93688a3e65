"""What could not be processed, with where it came from, on `tokenwire.deadletters`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from schemas.errors import InvalidField
from schemas.identifiers import check_prompt_id, check_session_id, check_user_id

__all__ = ["DEAD_LETTER_VALUE_BYTES_MAX", "DeadLetter", "Names", "names_in"]

DEAD_LETTER_VALUE_BYTES_MAX: Final = 700_000  # base64 adds a third; the record stays below 960 KiB


class DeadLetter(msgspec.Struct, frozen=True, omit_defaults=True, tag="dead_letter", kw_only=True):
    """The rejected bytes (base64 in JSON, cut at DEAD_LETTER_VALUE_BYTES_MAX), the reason and the place."""

    reason: str
    """A code such as `malformed`, `unknown_type`, `invalid_field`, `crashed`; `unreadable`: a range of offsets,
    named by the message, of which no byte can be shown."""
    message: str
    topic: str
    partition: int
    offset: int
    key: bytes | None = None
    value: bytes | None = None
    value_bytes: int = 0
    value_sha256: str = ""
    user: str = ""
    session: str = ""
    prompt_id: str = ""
    at_us: int = 0


class Names(NamedTuple):
    """Whose prompt a rejected record was, as far as it can be read; empty where it can't."""

    user: str = ""
    session: str = ""
    prompt_id: str = ""


class Claims(msgspec.Struct):
    """What a record may say of itself, of any kind."""

    user: object = None
    session: object = None
    prompt_id: object = None


CLAIMS: Final = msgspec.json.Decoder(Claims)


def names_in(key: bytes | None, value: bytes | None) -> Names:
    """Whose prompt these bytes are, whatever else is wrong with them. A user who is not named is the key."""
    try:
        claims = CLAIMS.decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        claims = Claims()
    user = checked(check_user_id, claims.user) or checked(check_user_id, (key or b"").decode(errors="replace"))
    return Names(user, checked(check_session_id, claims.session), checked(check_prompt_id, claims.prompt_id))


def checked(check: Callable[[str], str], claim: object) -> str:
    try:
        return check(claim) if isinstance(claim, str) else ""
    except InvalidField:
        return ""
