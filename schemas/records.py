"""What analytics keeps: one row per attempt, with everything needed to replay it.

A `TurnRecord` travels in parts so that none is large: parts 0 … n-1 carry the stream, the last one also the
outcome. (turn, attempt, run, part) names a part for good: written again after a crash, it is the same row. A turn that
ended before it started is attempt 0; so is each sending of its prompt that was refused for now, under a run of its own.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from schemas.session_events import EndReason, StartCause, Usage

__all__ = [
    "RECORD_PART_TEXT_BYTES_MAX",
    "REFUSED_RUN",
    "AttemptOutcome",
    "AttemptReason",
    "TurnRecord",
    "refused_run",
]

RECORD_PART_TEXT_BYTES_MAX: Final = 32_768
"""Text in one part; even if every byte needs a JSON escape of six, a part stays below 256 KiB."""

REFUSED_RUN: Final = "refused-"
"""How the run of a sending that was refused for now begins; no attempt's does."""

AttemptReason: TypeAlias = EndReason | Literal["void", "continued"]
"""How an attempt ended; `void`: a later attempt took its place; `continued`: the next attempt went on from its text,
which stands unless a still later one began again (its first part has `seq` 0)."""


class AttemptOutcome(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How an attempt went. Hop times are wall clocks in microseconds since 1970; 0 = did not happen."""

    reason: AttemptReason
    cause: StartCause = "first"
    error_code: str = ""
    provider: str = ""
    """`cache` where nobody was called."""
    model: str = ""
    usage: Usage = Usage()
    cost_nano_usd: int = 0
    price_version: str = ""
    text_sha256: str = ""
    text_chars: int = 0
    chunks: int = 0
    accepted_at_us: int = 0
    dequeued_at_us: int = 0
    requested_at_us: int = 0
    first_chunk_at_us: int = 0
    published_at_us: int = 0
    """The first record of the answer was acknowledged by the broker."""
    ended_at_us: int = 0
    ttft_us: int | None = None
    """Request → first content chunk, on a monotonic clock."""
    tpot_us: int | None = None
    """(last chunk - first chunk) / (output tokens - 1); none for a single token."""
    history_messages_cut: int = 0
    metadata: dict[str, str] = {}
    """The prompt's own, as it was sent."""


class TurnRecord(msgspec.Struct, frozen=True, omit_defaults=True, tag="record.turn", kw_only=True):
    """A part of an attempt's record. `outcome` is present on the last part, and only there."""

    user: str
    tenant: str = ""
    session: str
    turn: str
    attempt: int
    run: str
    prompt_id: str
    part: int = 0
    seq: int = 0
    """Number of the part's first chunk."""
    texts: tuple[str, ...] = ()
    gaps_us: tuple[int, ...] = ()
    outcome: AttemptOutcome | None = None


def refused_run(try_offset: int) -> str:
    """The run under which the refusal of a sending is recorded, at attempt 0: each has a row of its own."""
    return f"{REFUSED_RUN}{try_offset}"
