"""What a new owner of a partition does about a turn that its predecessor left open.

The journal says what may have begun, the session's log what did; the log wins. A turn that the log shows ended is
only closed, and one that a refusal for now has taken back is forgotten; one that was running counts a crash against
its prompt unless the predecessor handed it over. An entry older than the memory of ended turns, of which no log knows
anything, may be a leftover of one that ended long ago (compaction keeps what was written last, even if a frozen
worker wrote it): it is not answered again.

**Poison.** Whatever ran when a worker died may have killed it, so a count of crashes alone would give up bystanders
together with the prompt that did it. From its second crash on (its first, if fewer than three are allowed) a turn is a
*suspect*: it is run again while nothing else runs (`processors/turns/suspect_queue.py`), which the journal notes before
the work. Only a crash of a turn that ran *alone* gives it up, in `error` and with a dead letter, once `attempts_max`
crashes are counted.

- A turn that kills no worker is never given up for what ran beside it: alone means that nothing did.
- A turn that kills each worker it runs on is given up after `runs_max` runs at most; after max(2, `attempts_max`)
  where it kills within HOLD_S and the others of its worker end within HOLD_S.

A worker waits for a suspect's solitude, and grants it, for a bounded time only: HOLD_S each, so that one suspect can't
stop it. A suspect that runs in company for want of time, or outlives its time, is not blamed for a crash; its next time
is twice as long, up to HOLD_S_MAX, as long as an attempt may take by default: later than that nothing hides it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import msgspec

from schemas.journal import ENDED_KEPT_S, JournalEntry
from schemas.session_events import EndReason, StartCause
from schemas.turn_fold import FoldedTurn

__all__ = [
    "HOLD_S",
    "HOLD_S_MAX",
    "LEASE_US",
    "SLACK_US",
    "WRITING_US",
    "Close",
    "Expire",
    "Follow",
    "GiveUp",
    "Recovery",
    "Resume",
    "Stop",
    "TakenBack",
    "closed",
    "decide_recovery",
    "hold_of",
    "is_suspect",
    "may_be_written",
    "newer_entry",
    "runs_max",
    "still_leased",
]

SECOND_US: Final = 1_000_000
PHASE_RANK: Final = {"cancelled_early": 0, "queued": 1, "running": 2, "ended": 3}


@dataclass(frozen=True, slots=True)
class Close:
    """The log shows its end: write what is missing of its records and close the entry."""


@dataclass(frozen=True, slots=True)
class TakenBack:
    """The log shows its sending refused: write what may be missing of its record, and forget it."""


@dataclass(frozen=True, slots=True)
class Stop:
    """It was cancelled: end it."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Its workers died too often, the last one of it alone: end it in `error`, keep the prompt as a dead letter."""

    crashes: int


@dataclass(frozen=True, slots=True)
class Expire:
    """It is older than what is remembered of ended turns, and its session's log has nothing of it."""


@dataclass(frozen=True, slots=True)
class Follow:
    """Its worker lives and goes on with it: follow the log until it ends, or falls silent."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Put it in its lane. `queued` says whether the log shows its TurnQueued already."""

    queued: bool
    crashes: int
    cause: StartCause


SUSPECT_CRASHES: Final = 2
"""One crash is no reason to suspect anybody: workers are killed, and machines fail."""
HOLD_S: Final = 10.0
"""How long, at first, a worker waits for its other turns to end before a suspect begins, and begins no other turn after
that."""
HOLD_S_MAX: Final = 900.0
DOUBLINGS_MAX: Final = 7  # of HOLD_S until it is HOLD_S_MAX

Recovery: TypeAlias = Close | TakenBack | Stop | Expire | Follow | GiveUp | Resume

LEASE_US: Final = 10_000_000
"""How long a running turn is left to the worker that lost its partition, from the moment it knew and after each record:
as long as the group believes a silent worker alive. This is the default; workers pass their session timeout."""
WRITING_US: Final = 1_000_000
"""A turn of which a record came so lately may be being written: as a rule, less than a worker that died takes to be
missed, or to be there again."""
SLACK_US: Final = 1_000_000
"""How far the clocks of two brokers may differ: a partition's leader may have changed between two stamps."""


def decide_recovery(
    entry: JournalEntry,
    folded: FoldedTurn | None,
    *,
    attempts_max: int,
    now_us: int,
    refused: bool = False,
    leased: bool = False,
) -> Recovery:
    """Decide on an open journal entry, given the turn as the session's log shows it (None: not at all).

    `refused`: the log shows the entry's sending, or a later one, refused. `leased`: what `still_leased` says of it.
    """
    if folded is None and refused:
        return TakenBack()
    if folded is not None and folded.ended is not None:
        return Close()
    if entry.cancel_requested and folded is not None:
        return Stop()
    if folded is None and now_us - entry.accepted_at_us > ENDED_KEPT_S * SECOND_US:
        return Expire()
    if entry.phase == "running" and leased:
        return Follow()
    started = folded is not None and folded.current is not None
    crashed = entry.phase == "running" and (started or entry.attempt > 0)
    crashes = entry.crashes + (1 if crashed else 0)
    if crashed and entry.alone and crashes >= attempts_max:
        return GiveUp(crashes)
    cause: StartCause = "crash" if crashed else "handover" if started else "first"
    return Resume(queued=folded is not None, crashes=crashes, cause=cause)


def is_suspect(crashes: int, *, attempts_max: int) -> bool:
    """Whether a turn that crashed so often may be what killed its workers."""
    return crashes >= suspect_from(attempts_max)


def suspect_from(attempts_max: int) -> int:
    return max(1, min(SUSPECT_CRASHES, attempts_max - 1))


def hold_of(crashes: int, *, attempts_max: int) -> float:
    """Seconds that a worker waits for a suspect to be alone, and then keeps it so."""
    doublings = min(crashes - suspect_from(attempts_max), DOUBLINGS_MAX)
    return min(HOLD_S_MAX, HOLD_S * 2.0**doublings)


def runs_max(attempts_max: int) -> int:
    """Runs of a turn that kills each of its workers, until it is given up at the latest."""
    return max(attempts_max, suspect_from(attempts_max) + DOUBLINGS_MAX + 1)


def still_leased(leased_at_us: int, newest_at_us: int, *, now_us: int, lease_us: int = LEASE_US) -> bool:
    """Whether the worker that lost the partition may still be at work on a turn.

    A worker that gives a partition up while it lives journals a lease for each running turn before the group moves
    the partition, so that nobody pays for the answer twice; beyond the lease, records still coming prolong it. All
    three times are brokers' stamps (the lease's entry, 0: there is none; the turn's newest record, 0: there is none;
    an append of the new owner's own), so no worker's clock is compared with another's.
    """
    return bool(leased_at_us) and now_us < max(leased_at_us, newest_at_us) + lease_us + SLACK_US


def may_be_written(newest_at_us: int, *, now_us: int) -> bool:
    """Whether a worker that left no word may be at work on a turn all the same, as its newest record is so young.

    The group gives workers up that live, where its coordinator stood still. If a further record comes while this is so,
    somebody writes it, and it is left to them; else its worker has died.
    """
    return now_us < newest_at_us + WRITING_US + SLACK_US


def newer_entry(known: JournalEntry | None, read: JournalEntry) -> JournalEntry:
    """Of two entries of a turn, in log order, the one that knows more, or is of a later sending.

    A worker that was frozen may append an old entry after its successor's newer one.
    """
    if known is None:
        return read
    known_rank = (PHASE_RANK[known.phase], known.attempt, known.try_offset)
    read_rank = (PHASE_RANK[read.phase], read.attempt, read.try_offset)
    handed_over = known.phase == "running" and read.phase == "queued" and read.attempt >= known.attempt
    return read if read_rank >= known_rank or handed_over else known


def closed(entry: JournalEntry, reason: EndReason, offset: int, now_us: int) -> JournalEntry:
    """The entry of a turn that is over: without its prompt, for deduplication only."""
    return msgspec.structs.replace(
        entry, phase="ended", prompt=None, reason=reason, last_offset=offset, updated_at_us=now_us
    )
