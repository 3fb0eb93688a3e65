"""What could not be processed, with where it came from, on `tokenwire.deadletters`."""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = ["DEAD_LETTER_VALUE_BYTES_MAX", "DeadLetter"]

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
