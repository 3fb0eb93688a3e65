"""Commands between workers on `tokenwire.prompts`: a worker that holds no part of a target's limits asks one that does.

They are written and read by workers alone, to partitions and not by users: an ask goes to a partition whose owner holds
a part of the target's limits, the answer to a partition of the asker. Each may come twice, late or never, and says
whose permit it is: nothing is changed by a repetition, and whoever hears nothing asks again.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from schemas.errors import InvalidField
from schemas.prompts import Priority
from schemas.topics import USER_PARTITIONS

__all__ = [
    "CallOutcome",
    "PermitAsked",
    "PermitCommand",
    "PermitGranted",
    "PermitRefused",
    "PermitReturned",
    "check_permit",
    "is_permit",
]

TARGET_CHARS_MAX: Final = 512
PERMIT_CHARS_MAX: Final = 64
CallOutcome: TypeAlias = Literal["ended", "overloaded", "timed_out"]
"""`overloaded`: refused as one too many; `timed_out`: the deadline of the first token ran out."""
TAG_PREFIX: Final = b'{"type":"permit.'


class PermitAsked(msgspec.Struct, frozen=True, omit_defaults=True, tag="permit.asked", kw_only=True):
    """May this worker make one call? Said again while it waits and while the call runs: silence gives it back."""

    permit: str
    """The asker's name, a hyphen and a number of its own; every word about the permit carries it."""
    target: str
    reply_partition: int
    """A partition that the asker owns."""
    tokens: int = 0
    """What the call may use, input and output."""
    priority: Priority = "interactive"
    waited_s: float = 0.0
    """How long the call has waited: it is put in line as if it had come to the holder then."""
    patient: bool = True
    """Wait in the holder's line; otherwise it is granted or refused at once."""
    held: bool = False
    """It was granted, and the call may be under way."""


class PermitGranted(msgspec.Struct, frozen=True, omit_defaults=True, tag="permit.granted", kw_only=True):
    """The call may be made; it is charged already."""

    permit: str
    target: str
    holder: int
    """The partition that the ask came on; what is not wanted any more is returned there."""


class PermitRefused(msgspec.Struct, frozen=True, omit_defaults=True, tag="permit.refused", kw_only=True):
    """There is no room now."""

    permit: str
    target: str
    retry_after_s: float = 0.0
    """No sooner is there any use in asking for this target again."""


class PermitReturned(msgspec.Struct, frozen=True, omit_defaults=True, tag="permit.returned", kw_only=True):
    """The call has ended, or is not wanted any more."""

    permit: str
    target: str
    tokens_used: int = 0
    outcome: CallOutcome = "ended"
    """How its call went, as far as it tells how many calls the target takes at once."""
    first_token_s: float | None = None
    """From the request to the first token, where one came."""
    input_tokens: int = 0
    """Size of the prompt that it was the first token for."""


PermitCommand: TypeAlias = PermitAsked | PermitGranted | PermitRefused | PermitReturned


def is_permit(raw: bytes | None) -> bool:
    """Whether a record of `tokenwire.prompts` is a word between workers, from its first bytes: ours begin so."""
    return raw is not None and raw.startswith(TAG_PREFIX)


def check_permit(command: PermitCommand) -> None:
    """Raises InvalidField where a value can't be one of ours."""
    require("permit", 0 < len(command.permit) <= PERMIT_CHARS_MAX, f"must have 1 to {PERMIT_CHARS_MAX} characters")
    require("target", 0 < len(command.target) <= TARGET_CHARS_MAX, f"must have 1 to {TARGET_CHARS_MAX} characters")
    match command:
        case PermitAsked():
            require_partition("reply_partition", command.reply_partition)
            require("tokens", command.tokens >= 0, "must not be negative")
            require("waited_s", command.waited_s >= 0, "must not be negative")
        case PermitGranted():
            require_partition("holder", command.holder)
        case PermitRefused():
            require("retry_after_s", command.retry_after_s >= 0, "must not be negative")
        case PermitReturned():
            require("tokens_used", command.tokens_used >= 0, "must not be negative")
            require("first_token_s", (command.first_token_s or 0) >= 0, "must not be negative")
            require("input_tokens", command.input_tokens >= 0, "must not be negative")


def require_partition(field: str, value: int) -> None:
    require(field, 0 <= value < USER_PARTITIONS, f"must lie between 0 and {USER_PARTITIONS - 1}")


def require(field: str, holds: bool, problem: str) -> None:
    if not holds:
        raise InvalidField(field, problem, "only workers write such commands")
