"""What a new owner of a partition does about a turn that its predecessor left open.

The journal says what may have begun, the session's log what did; the log wins. A turn that the log shows ended is
only closed; one that was running counts a crash against its prompt unless the predecessor handed it over; after
`attempts_max` crashes it ends in `error` and its prompt becomes a dead letter, so that no prompt can kill workers
for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from schemas.journal import JournalEntry
from schemas.session_events import StartCause
from schemas.turn_fold import FoldedTurn

__all__ = ["Close", "GiveUp", "Recovery", "Resume", "Stop", "decide_recovery", "newer_entry"]

PHASE_RANK = {"cancelled_early": 0, "queued": 1, "running": 2, "ended": 3}


@dataclass(frozen=True, slots=True)
class Close:
    """The log shows its end: write what is missing of its records and close the entry."""


@dataclass(frozen=True, slots=True)
class Stop:
    """It was cancelled: end it."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Its workers died too often: end it in `error`, keep the prompt as a dead letter."""

    crashes: int


@dataclass(frozen=True, slots=True)
class Resume:
    """Put it in line. `queued` says whether the log shows its TurnQueued already."""

    queued: bool
    crashes: int
    cause: StartCause


Recovery: TypeAlias = Close | Stop | GiveUp | Resume


def decide_recovery(entry: JournalEntry, folded: FoldedTurn | None, *, attempts_max: int) -> Recovery:
    """Decide on an open journal entry, given the turn as the session's log shows it (None: not at all)."""
    if folded is not None and folded.ended is not None:
        return Close()
    if entry.cancel_requested and folded is not None:
        return Stop()
    started = folded is not None and folded.current is not None
    crashed = entry.phase == "running" and (started or entry.attempt > 0)
    crashes = entry.crashes + (1 if crashed else 0)
    if crashes >= attempts_max:
        return GiveUp(crashes)
    cause: StartCause = "crash" if crashed else "handover" if started else "first"
    return Resume(queued=folded is not None, crashes=crashes, cause=cause)


def newer_entry(known: JournalEntry | None, read: JournalEntry) -> JournalEntry:
    """Of two entries of a turn, in log order, the one that knows more.

    A worker that was frozen may append an old entry after its successor's newer one.
    """
    if known is None:
        return read
    known_rank = (PHASE_RANK[known.phase], known.attempt)
    read_rank = (PHASE_RANK[read.phase], read.attempt)
    handed_over = known.phase == "running" and read.phase == "queued" and read.attempt >= known.attempt
    return read if read_rank >= known_rank or handed_over else known
