"""What becomes of a prompt, given what the journal says of its turn id.

A turn id names one prompt of one session for a day, save where the prompt was refused for now: of that nothing is
remembered. So a prompt seen before changes nothing, one whose id was used for other words is refused, one that was
cancelled before it came ends at once, and one older than the memory of ended turns can't be told from a repetition
and ends `expired`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import msgspec

from schemas.journal import ENDED_KEPT_S, JournalEntry
from schemas.prompts import PromptCancelled, PromptSubmitted, turns_of

__all__ = [
    "CANCEL_REMEMBERED_S",
    "EXPIRED_MESSAGE",
    "Admission",
    "Admit",
    "EndAtOnce",
    "IdReused",
    "Repetition",
    "body_hash_of",
    "cancelled_entry",
    "decide_admission",
    "queued_entry",
]

CANCEL_REMEMBERED_S: Final = 600
"""Seconds that a cancel which came before its prompt is remembered."""
SECOND_US: Final = 1_000_000
EXPIRED_MESSAGE: Final = "The prompt waited for more than a day; send it again with a new id."


@dataclass(frozen=True, slots=True)
class Admit:
    """A prompt that becomes a new turn."""


@dataclass(frozen=True, slots=True)
class Repetition:
    """The turn is known: its answer is under way or on the log."""


@dataclass(frozen=True, slots=True)
class IdReused:
    """The prompt id belongs to other words."""


@dataclass(frozen=True, slots=True)
class EndAtOnce:
    """A turn that ends without a call."""

    reason: Literal["cancelled", "expired", "rejected"]
    code: str
    message: str
    temporary: bool = False


Admission: TypeAlias = Admit | Repetition | IdReused | EndAtOnce


def body_hash_of(prompt: PromptSubmitted) -> str:
    """A hash of what the prompt asks for, without when it was sent."""
    body = msgspec.structs.replace(prompt, submitted_at_us=0)
    return hashlib.sha256(msgspec.json.encode(body)).hexdigest()[:32]


def queued_entry(
    prompt: PromptSubmitted, index: int, *, body_hash: str, accepted_at_us: int, now_us: int, try_offset: int
) -> JournalEntry:
    """What is journalled first of one of the prompt's turns, for the sending at this offset."""
    return JournalEntry(
        turn=turns_of(prompt)[index],
        user=prompt.user,
        session=prompt.session,
        prompt_id=prompt.prompt_id,
        phase="queued",
        body_hash=body_hash,
        prompt=prompt,
        accepted_at_us=accepted_at_us,
        try_offset=try_offset,
        index=index,
        updated_at_us=now_us,
    )


def cancelled_entry(turn: str, command: PromptCancelled, *, now_us: int) -> JournalEntry:
    """What is journalled of a cancel that came before its prompt."""
    user, session, prompt_id = command.user, command.session, command.prompt_id
    return JournalEntry(
        turn=turn, user=user, session=session, prompt_id=prompt_id, phase="cancelled_early", updated_at_us=now_us
    )


def decide_admission(
    known: JournalEntry | None, body_hash: str, *, accepted_at_us: int, now_us: int, waiting: int, waiting_max: int
) -> Admission:
    """Decide on a prompt stamped `accepted_at_us` by the broker, with `waiting` turns before it in its session."""
    if known is not None and known.phase != "cancelled_early":
        return Repetition() if known.body_hash == body_hash else IdReused()
    if known is not None and now_us - known.updated_at_us <= CANCEL_REMEMBERED_S * SECOND_US:
        return EndAtOnce("cancelled", "cancelled", "The prompt was cancelled before it arrived.")
    if now_us - accepted_at_us > ENDED_KEPT_S * SECOND_US:
        return EndAtOnce("expired", "expired", EXPIRED_MESSAGE)
    if waiting > waiting_max:
        return EndAtOnce(
            "rejected",
            "queue_full",
            f"{waiting_max} prompts wait in this session already; wait for one to be answered, then send again.",
            temporary=True,
        )
    return Admit()
