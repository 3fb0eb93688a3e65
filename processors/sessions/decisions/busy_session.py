"""What a session does about several prompts at once: who may start, and what a new prompt does to the open ones.

The turns of a session stand in one lane, in the order of their `TurnQueued`, those that run among them. A turn may
start once every turn before it is of its own prompt (the turns of a comparison run side by side), or at once where
its prompt asked to run in parallel; never more than `prompts_max` prompts of a session run at a time, whatever they
asked for, and places are given from the head of the lane, so that nobody is overtaken for ever.

Invariants: the head of the lane may always start where nothing runs; a prompt that waits for others (`enqueue`) never
runs while a turn before it is open; a turn that somebody is at work on is never started again. Cost: one pass over
the lane, which is bounded.

Not a queue for each prompt and a semaphore between them: after a crash the lane is rebuilt from the log in its order,
and who may start follows from the lane alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from schemas.journal import StopKind
from schemas.prompts import OnBusy

__all__ = [
    "WHILE_BUSY",
    "BusyDecision",
    "Join",
    "LaneTurn",
    "Refuse",
    "Supersede",
    "decide_busy",
    "eta_s",
    "may_start",
    "smoothed",
    "stronger_stop",
]


@dataclass(frozen=True, slots=True)
class LaneTurn:
    """A turn in its session's lane."""

    prompt_id: str
    beside: bool = False
    """Its prompt runs beside others."""
    claimed: bool = False
    """Somebody is at work on it."""
    over: bool = False
    """Its ending is on the log; it only has to be closed."""


@dataclass(frozen=True, slots=True)
class Join:
    """A prompt that takes its place in the lane."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """A prompt that ends `rejected`."""


@dataclass(frozen=True, slots=True)
class Supersede:
    """Every open turn is stopped, then it takes its place in the lane."""

    stop: StopKind


BusyDecision: TypeAlias = Join | Refuse | Supersede

WHILE_BUSY: Final[Mapping[OnBusy, BusyDecision]] = {
    "enqueue": Join(),
    "parallel": Join(),
    "reject": Refuse(),
    "interrupt": Supersede("superseded"),
    "rollback": Supersede("rolled_back"),
}
NEWEST_SHARE: Final = 0.2
"""How much the newest duration says of the next one."""
STOP_RANK: Final[Mapping[StopKind, int]] = {
    "lost_comparison": 0,
    "left": 1,
    "superseded": 2,
    "cancelled": 3,
    "rolled_back": 4,
}


def decide_busy(on_busy: OnBusy, lane: Sequence[LaneTurn]) -> BusyDecision:
    """What a new prompt does in a session with these turns."""
    return WHILE_BUSY[on_busy] if any(not turn.over for turn in lane) else Join()


def may_start(lane: Sequence[LaneTurn], *, prompts_max: int) -> tuple[int, ...]:
    """The places in the lane of the turns that start now."""
    running = {turn.prompt_id for turn in lane if turn.claimed}
    before: set[str] = set()
    starting: list[int] = []
    for place, turn in enumerate(lane):
        its_turn = turn.beside or before <= {turn.prompt_id}
        has_room = turn.prompt_id in running or len(running) < prompts_max
        if its_turn and has_room and not turn.claimed:
            starting.append(place)
            running.add(turn.prompt_id)
        before.add(turn.prompt_id)
    return tuple(starting)


def stronger_stop(known: StopKind | None, asked: StopKind) -> StopKind:
    """Of two reasons to stop a turn, the one that says more of what its user wants; `known` where both say the same."""
    return asked if known is None or STOP_RANK[asked] > STOP_RANK[known] else known


def eta_s(elapsed_s: Sequence[float | None], typical_s: float | None) -> float | None:
    """Seconds until a turn at the end of the lane may start, where it is known how long turns take.

    `elapsed_s`: of each turn before it, how long it has run; None: it has not begun.
    """
    if typical_s is None or not elapsed_s:
        return None
    return sum(typical_s if elapsed is None else max(0.0, typical_s - elapsed) for elapsed in elapsed_s)


def smoothed(known_s: float | None, newest_s: float) -> float:
    """How long a turn takes, by those that have ended: the newest count most."""
    return newest_s if known_s is None else known_s + NEWEST_SHARE * (newest_s - known_s)
