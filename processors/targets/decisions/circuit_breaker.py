"""Whether a target is worth calling, from how its last calls went.

    CLOSED ──tripped──► OPEN ──probe started──► PROBING ──probe succeeded──► CLOSED
                         ▲                          │
                         └──── failed, abandoned ───┘

CLOSED lets everything through and counts; so many failures in a row, or such a share of failures over a window, trip
it. OPEN lets nothing through for a time that doubles with every opening, up to a maximum. Then exactly one call may
go: whoever is allowed while it is OPEN reports PROBE_STARTED before calling, and owes one of the three verdicts
afterwards, in a `finally`: ABANDONED where the call was cancelled before it showed anything. Calls that began before
the opening may end later; their outcomes say nothing new and change nothing, so a late failure cannot fail a probe.

Invariants: at most one probe is out; from every state CLOSED is reachable by waiting and one good probe; an absent
pair of state and event raises and changes nothing. Not counted here: refusals of a prompt (the target is alive).
Cost per call: at most SHARE_SLOTS + 1 pairs of numbers are looked at.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, replace
from typing import Final

__all__ = [
    "TRANSITIONS",
    "BreakerEvent",
    "BreakerLimits",
    "BreakerPhase",
    "BreakerState",
    "IllegalTransition",
    "after",
    "allows",
]

SHARE_SLOTS: Final = 6
DOUBLINGS_MAX: Final = 30


class IllegalTransition(Exception):
    """An event that cannot happen in this state: a fault of ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerLimits:
    """When it opens and for how long."""

    consecutive_failures_max: int = 5
    """So many failures in a row open it."""
    failure_share_max: float = 0.5
    """Such a share of failures opens it,"""
    share_calls_min: int = 20
    """once so many calls have ended"""
    share_window_s: float = 60.0
    """within this time."""
    open_s: float = 5.0
    """How long it stays open the first time; each further opening without a good probe doubles it."""
    open_s_max: float = 120.0


class BreakerPhase(enum.Enum):
    """Whether calls go through."""

    CLOSED = "closed"
    OPEN = "open"
    PROBING = "probing"


class BreakerEvent(enum.Enum):
    """How calls begin and end, and TRIPPED, which follows from too many of them."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TRIPPED = "tripped"
    PROBE_STARTED = "probe_started"
    PROBE_SUCCEEDED = "probe_succeeded"
    PROBE_FAILED = "probe_failed"
    PROBE_ABANDONED = "probe_abandoned"


TRANSITIONS: Final[dict[tuple[BreakerPhase, BreakerEvent], BreakerPhase]] = {
    (BreakerPhase.CLOSED, BreakerEvent.SUCCEEDED): BreakerPhase.CLOSED,
    (BreakerPhase.CLOSED, BreakerEvent.FAILED): BreakerPhase.CLOSED,
    (BreakerPhase.CLOSED, BreakerEvent.TRIPPED): BreakerPhase.OPEN,
    (BreakerPhase.OPEN, BreakerEvent.SUCCEEDED): BreakerPhase.OPEN,
    (BreakerPhase.OPEN, BreakerEvent.FAILED): BreakerPhase.OPEN,
    (BreakerPhase.OPEN, BreakerEvent.PROBE_STARTED): BreakerPhase.PROBING,
    (BreakerPhase.PROBING, BreakerEvent.SUCCEEDED): BreakerPhase.PROBING,
    (BreakerPhase.PROBING, BreakerEvent.FAILED): BreakerPhase.PROBING,
    (BreakerPhase.PROBING, BreakerEvent.PROBE_SUCCEEDED): BreakerPhase.CLOSED,
    (BreakerPhase.PROBING, BreakerEvent.PROBE_FAILED): BreakerPhase.OPEN,
    (BreakerPhase.PROBING, BreakerEvent.PROBE_ABANDONED): BreakerPhase.OPEN,
}


@dataclass(frozen=True, slots=True)
class BreakerState:
    """One target's breaker."""

    limits: BreakerLimits
    phase: BreakerPhase = BreakerPhase.CLOSED
    retry_at_s: float = -math.inf
    """OPEN: when a probe may go."""
    openings: int = 0
    """Openings since the last good probe."""
    failures_in_a_row: int = 0
    outcomes: tuple[tuple[int, int, int], ...] = ()
    """Calls and failures by slot of the window, oldest first."""


def allows(state: BreakerState, now_s: float) -> bool:
    """May a call go? While OPEN, the one that goes is the probe and must be reported as PROBE_STARTED first."""
    if state.phase is BreakerPhase.OPEN:
        return now_s >= state.retry_at_s
    return state.phase is BreakerPhase.CLOSED


def after(state: BreakerState, event: BreakerEvent, now_s: float) -> BreakerState:
    """The breaker after an event; raises IllegalTransition where there can be none."""
    reached = TRANSITIONS.get((state.phase, event))
    if reached is None:
        raise IllegalTransition(f"{event.value} while {state.phase.value}")
    if event in (BreakerEvent.SUCCEEDED, BreakerEvent.FAILED):
        return counted(state, event, now_s) if reached is BreakerPhase.CLOSED else state
    if reached is BreakerPhase.CLOSED:
        return BreakerState(state.limits)
    if event is BreakerEvent.PROBE_ABANDONED:
        return replace(state, phase=reached, retry_at_s=now_s)
    if reached is BreakerPhase.OPEN:
        return opened(state, now_s)
    if now_s < state.retry_at_s:
        raise IllegalTransition(f"a probe {state.retry_at_s - now_s:g} s too early")
    return replace(state, phase=reached)


def counted(state: BreakerState, event: BreakerEvent, now_s: float) -> BreakerState:
    """A CLOSED breaker with one more outcome, tripped where a failure is one too many."""
    failed = event is BreakerEvent.FAILED
    slot = math.floor(now_s * SHARE_SLOTS / state.limits.share_window_s)
    kept = [entry for entry in state.outcomes if entry[0] > slot - SHARE_SLOTS]
    calls, failures = (kept.pop()[1:]) if kept and kept[-1][0] == slot else (0, 0)
    noted = replace(
        state,
        failures_in_a_row=state.failures_in_a_row + 1 if failed else 0,
        outcomes=(*kept, (slot, calls + 1, failures + failed)),
    )
    return after(noted, BreakerEvent.TRIPPED, now_s) if failed and is_too_much(noted) else noted


def is_too_much(state: BreakerState) -> bool:
    limits = state.limits
    if state.failures_in_a_row >= limits.consecutive_failures_max:
        return True
    calls = sum(entry[1] for entry in state.outcomes)
    failures = sum(entry[2] for entry in state.outcomes)
    return calls >= limits.share_calls_min and failures >= limits.failure_share_max * calls


def opened(state: BreakerState, now_s: float) -> BreakerState:
    open_s = min(state.limits.open_s * 2.0 ** min(state.openings, DOUBLINGS_MAX), state.limits.open_s_max)
    return BreakerState(state.limits, BreakerPhase.OPEN, now_s + open_s, state.openings + 1)
