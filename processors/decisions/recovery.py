"""What a new owner of a partition does about a turn that its predecessor left open.

The journal says what may have begun, the session's log what did; the log wins. A turn that the log shows ended is
only closed; one that was running counts a crash against its prompt unless the predecessor handed it over; after
`attempts_max` crashes it ends in `error` and its prompt becomes a dead letter, so that no prompt can kill workers
for ever. An entry older than the memory of ended turns, of which no log knows anything, may be a leftover of one that
ended long ago (compaction keeps what was written last, even if a frozen worker wrote it): it is not answered again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from schemas.journal import ENDED_KEPT_S, JournalEntry
from schemas.session_events import StartCause
from schemas.turn_fold import FoldedTurn

__all__ = [
    "LEASE_US",
    "Close",
    "Expire",
    "GiveUp",
    "Recovery",
    "Resume",
    "Stop",
    "Watch",
    "decide_recovery",
    "newer_entry",
    "still_leased",
]

SECOND_US: Final = 1_000_000
PHASE_RANK: Final = {"cancelled_early": 0, "queued": 1, "running": 2, "ended": 3}


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
class Expire:
    """It is older than what is remembered of ended turns, and its session's log has nothing of it."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Its worker lives and goes on with it: follow the log until it ends, or falls silent."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Put it in line. `queued` says whether the log shows its TurnQueued already."""

    queued: bool
    crashes: int
    cause: StartCause


Recovery: TypeAlias = Close | Stop | Expire | Watch | GiveUp | Resume

LEASE_US: Final = 10_000_000
"""How long a running turn is left to the worker that lost its partition, from the moment it knew and after each record:
as long as the group believes a silent worker alive. This is the default; workers pass their session timeout."""


def decide_recovery(
    entry: JournalEntry, folded: FoldedTurn | None, *, attempts_max: int, now_us: int, lease_us: int = LEASE_US
) -> Recovery:
    """Decide on an open journal entry, given the turn as the session's log shows it (None: not at all)."""
    if folded is not None and folded.ended is not None:
        return Close()
    if entry.cancel_requested and folded is not None:
        return Stop()
    if folded is None and now_us - entry.accepted_at_us > ENDED_KEPT_S * SECOND_US:
        return Expire()
    if entry.phase == "running" and still_leased(entry, folded, now_us=now_us, lease_us=lease_us):
        return Watch()
    started = folded is not None and folded.current is not None
    crashed = entry.phase == "running" and (started or entry.attempt > 0)
    crashes = entry.crashes + (1 if crashed else 0)
    if crashes >= attempts_max:
        return GiveUp(crashes)
    cause: StartCause = "crash" if crashed else "handover" if started else "first"
    return Resume(queued=folded is not None, crashes=crashes, cause=cause)


def still_leased(entry: JournalEntry, folded: FoldedTurn | None, *, now_us: int, lease_us: int = LEASE_US) -> bool:
    """Whether the worker that lost the partition may still be at work on the turn.

    A worker that gives a partition up while it lives journals a lease for each running turn before the group moves
    the partition, so that nobody pays for the answer twice; beyond the lease, records still coming prolong it.
    """
    if not entry.lease_until_us:
        return False
    newest_us = folded.current.last_at_us if folded is not None and folded.current is not None else 0
    return now_us < max(entry.lease_until_us, newest_us + lease_us)


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
