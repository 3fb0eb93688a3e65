"""A turn's life, as the worker that has it in its line sees it; what the journal says of it follows from its events.

    NEW ──joined──► WAITING ──claimed──► PLACING ──placed──► RUNNING ──ended──► CLOSING ──left──► OVER
                        ▲                    └──ended──► OVER    ▲
                        └──returned── FOLLOWED ◄──voided──┘      └──silent── FOLLOWED

WAITING is in the line with nobody at work on it. PLACING has a task, which looks for a place; RUNNING has its place,
and attempts follow each other. FOLLOWED is another worker's: its log is read until it has ended there, or that worker
is silent. CLOSING has its ending on the log and its place still, OVER its ending alone: records and the journal may be
left to write, and nothing else may be journalled. LEFT is another owner's.

Invariants: an ending is never taken back; who is claimed is not started again; of a turn that is over nothing changes
in the entry but where it begins, how often our own code failed on it, whether it runs alone, and what its runs used; an
absent pair of state and event, and a field that the event does not write, raise and change nothing. Cost: one look-up
and, for the events that the journal is told of, one copy of the entry.

Not flags for each question (is somebody at work on it, has it a place, is it over): those were written at many places,
and what they say together was nobody's.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from schemas.journal import JournalEntry
from schemas.session_events import StartCause

__all__ = ["TRANSITIONS", "IllegalEvent", "TurnEvent", "TurnLife", "TurnState", "after"]


class IllegalEvent(Exception):
    """An event that cannot happen in this state: a fault of ours."""


class TurnState(enum.Enum):
    """Where a turn stands: in its session's line, at work, at another worker's, or at its end."""

    NEW = "new"
    WAITING = "waiting"
    PLACING = "placing"
    RUNNING = "running"
    FOLLOWED = "followed"
    CLOSING = "closing"
    OVER = "over"
    LEFT = "left"


class TurnEvent(enum.Enum):
    """What moves it, and what its journal entry is told."""

    JOINED = "joined"
    CLAIMED = "claimed"
    PLACED = "placed"
    DROPPED = "dropped"
    VOIDED = "voided"
    SILENT = "silent"
    RETURNED = "returned"
    ENDED = "ended"
    TASK_DONE = "task_done"
    BEGAN = "began"
    CALL_FAILED = "call_failed"
    APPEND_LOST = "append_lost"
    FAULTED = "faulted"
    STOPPED = "stopped"
    LEASED = "leased"
    ISOLATED = "isolated"
    LOCATED = "located"
    RESUMED = "resumed"
    TAKEN_UP = "taken_up"
    HANDED_OVER = "handed_over"
    SENT_AGAIN = "sent_again"
    ACCOUNTED = "accounted"


NEW, WAITING, PLACING, RUNNING, FOLLOWED, CLOSING, OVER, LEFT = TurnState

STAYS: Final[Mapping[TurnEvent, tuple[TurnState, ...]]] = {
    TurnEvent.BEGAN: (RUNNING,),
    TurnEvent.CALL_FAILED: (RUNNING,),
    TurnEvent.APPEND_LOST: (PLACING, RUNNING, CLOSING, OVER),
    TurnEvent.FAULTED: (PLACING, RUNNING, CLOSING, OVER),
    TurnEvent.STOPPED: (NEW, WAITING, PLACING, RUNNING, FOLLOWED, LEFT),
    TurnEvent.LEASED: (NEW, WAITING, RUNNING, FOLLOWED, LEFT),  # it may be left as it is leased
    TurnEvent.ISOLATED: (WAITING, RUNNING, FOLLOWED, CLOSING, OVER, LEFT),  # it may end as that is taken back
    TurnEvent.LOCATED: (NEW, PLACING, RUNNING, FOLLOWED, CLOSING, OVER),
    TurnEvent.RESUMED: (NEW,),
    TurnEvent.TAKEN_UP: (NEW,),
    TurnEvent.HANDED_OVER: (NEW, WAITING, LEFT),
    TurnEvent.SENT_AGAIN: (WAITING, PLACING, RUNNING, FOLLOWED, LEFT),
    TurnEvent.ACCOUNTED: tuple(TurnState),
}
"""Events that say something of a turn and leave it where it is."""

MOVES: Final[Mapping[TurnEvent, Mapping[TurnState, TurnState]]] = {
    TurnEvent.JOINED: {NEW: WAITING},
    TurnEvent.CLAIMED: {WAITING: PLACING},
    TurnEvent.PLACED: {PLACING: RUNNING, RUNNING: RUNNING},
    TurnEvent.DROPPED: {RUNNING: NEW, CLOSING: OVER},
    TurnEvent.VOIDED: {WAITING: FOLLOWED, PLACING: FOLLOWED, RUNNING: FOLLOWED},
    TurnEvent.SILENT: {FOLLOWED: RUNNING},
    TurnEvent.RETURNED: {FOLLOWED: WAITING},
    TurnEvent.ENDED: {NEW: OVER, PLACING: OVER, FOLLOWED: OVER, RUNNING: CLOSING, CLOSING: CLOSING, OVER: OVER},
    TurnEvent.TASK_DONE: {PLACING: LEFT, RUNNING: LEFT, FOLLOWED: LEFT, CLOSING: OVER, OVER: OVER},
    **{event: dict(zip(states, states, strict=True)) for event, states in STAYS.items()},
}
TRANSITIONS: Final[Mapping[tuple[TurnState, TurnEvent], TurnState]] = {
    (state, event): following for event, moves in MOVES.items() for state, following in moves.items()
}

CAUSES: Final[Mapping[TurnEvent, StartCause]] = {
    TurnEvent.SILENT: "crash",
    TurnEvent.RETURNED: "crash",
    TurnEvent.APPEND_LOST: "append_lost",
    TurnEvent.FAULTED: "handler_error",
}
"""Why the next attempt is started; other events bring their own cause, or leave it."""

SETS: Final[Mapping[TurnEvent, Mapping[str, Any]]] = {
    TurnEvent.BEGAN: {"phase": "running", "lease_until_us": 0},
    TurnEvent.STOPPED: {"cancel_requested": True},
    TurnEvent.RESUMED: {"phase": "queued", "alone": False},
    TurnEvent.HANDED_OVER: {"phase": "queued"},
}
WRITES: Final[Mapping[TurnEvent, frozenset[str]]] = {
    TurnEvent.BEGAN: frozenset({"attempt", "run", "first_offset", "updated_at_us", "runs"}),
    TurnEvent.FAULTED: frozenset({"failures"}),
    TurnEvent.STOPPED: frozenset({"stop", "updated_at_us"}),
    TurnEvent.LEASED: frozenset({"lease_until_us", "runs"}),
    TurnEvent.ISOLATED: frozenset({"alone"}),
    TurnEvent.LOCATED: frozenset({"first_offset"}),
    TurnEvent.RESUMED: frozenset({"crashes"}),
    TurnEvent.HANDED_OVER: frozenset({"updated_at_us"}),
    TurnEvent.SENT_AGAIN: frozenset({"try_offset"}),
    TurnEvent.ACCOUNTED: frozenset({"runs", "counted_at_us"}),
}
"""The fields of the journal's entry that an event brings."""


@dataclass(frozen=True, slots=True)
class TurnLife:
    """Where a turn stands, and what the journal says of it."""

    entry: JournalEntry
    state: TurnState = NEW
    cause: StartCause = "first"
    """Why its next attempt is started."""

    @property
    def claimed(self) -> bool:
        """Somebody is at work on it, or was: it is not started again."""
        return self.state not in (NEW, WAITING)

    @property
    def placed(self) -> bool:
        """It has a place among the turns that the worker runs at once."""
        return self.state in (RUNNING, CLOSING)

    @property
    def over(self) -> bool:
        """Its ending is on the log: only records and the journal are left to write, and nothing else is journalled."""
        return self.state in (CLOSING, OVER)


def after(life: TurnLife, event: TurnEvent, *, cause: StartCause | None = None, **written: object) -> TurnLife:
    """The life that follows; `written`: fields of the entry. Raises IllegalEvent."""
    state = TRANSITIONS.get((life.state, event))
    if state is None:
        raise IllegalEvent(f"turn {life.entry.turn}: {event.value} cannot happen to one that is {life.state.value}")
    if not written.keys() <= WRITES.get(event, frozenset()):
        raise IllegalEvent(f"turn {life.entry.turn}: {event.value} does not write {', '.join(written)}")
    written |= SETS.get(event, {})
    entry = msgspec.structs.replace(life.entry, **written) if written else life.entry
    return TurnLife(entry, state, cause or CAUSES.get(event, life.cause))
