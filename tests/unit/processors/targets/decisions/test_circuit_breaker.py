"""Whether a target is worth calling."""

from __future__ import annotations

import pytest

from processors.targets.decisions.circuit_breaker import (
    TRANSITIONS,
    BreakerEvent,
    BreakerLimits,
    BreakerPhase,
    BreakerState,
    IllegalTransition,
    after,
    allows,
)

LIMITS = BreakerLimits(consecutive_failures_max=3, share_calls_min=6, share_window_s=60, open_s=5, open_s_max=15)
CLOSED = BreakerState(LIMITS)
ABSENT = [(phase, event) for phase in BreakerPhase for event in BreakerEvent if (phase, event) not in TRANSITIONS]


def having(state: BreakerState, events: list[BreakerEvent], now_s: float) -> BreakerState:
    for event in events:
        state = after(state, event, now_s)
    return state


OPEN = having(CLOSED, [BreakerEvent.FAILED] * 3, 100)
PROBING = after(OPEN, BreakerEvent.PROBE_STARTED, 105)
IN_PHASE = {BreakerPhase.CLOSED: CLOSED, BreakerPhase.OPEN: OPEN, BreakerPhase.PROBING: PROBING}


def test_failures_in_a_row() -> None:
    """It opens, and for its time lets nothing through."""
    assert allows(having(CLOSED, [BreakerEvent.FAILED] * 2, 100), 100)
    assert (OPEN.phase, OPEN.retry_at_s) == (BreakerPhase.OPEN, 105)
    assert not allows(OPEN, 104.9)
    assert allows(OPEN, 105)


def test_success_between_failures() -> None:
    """The row begins anew."""
    two = [BreakerEvent.FAILED] * 2

    assert having(CLOSED, [*two, BreakerEvent.SUCCEEDED, *two], 0).phase is BreakerPhase.CLOSED


def test_share_of_failures() -> None:
    """Half of the calls of a minute is too much, once there were enough; a success never opens it."""
    mixed = [BreakerEvent.FAILED, BreakerEvent.SUCCEEDED]

    assert having(CLOSED, [*mixed, *mixed, BreakerEvent.FAILED], 0).phase is BreakerPhase.CLOSED
    assert having(CLOSED, mixed * 3, 0).phase is BreakerPhase.CLOSED
    assert having(CLOSED, [*mixed * 3, BreakerEvent.FAILED], 0).phase is BreakerPhase.OPEN


def test_failures_long_ago() -> None:
    """What has left the window is forgotten."""
    early = having(CLOSED, [BreakerEvent.FAILED, BreakerEvent.SUCCEEDED] * 3, 0)
    later = having(early, [BreakerEvent.SUCCEEDED, BreakerEvent.FAILED], 59.9)

    assert later.phase is BreakerPhase.OPEN
    assert having(early, [BreakerEvent.SUCCEEDED, BreakerEvent.FAILED], 60).phase is BreakerPhase.CLOSED


def test_probe() -> None:
    """While it is out nothing else goes; its success closes, with a clean slate."""
    assert not allows(PROBING, 1e9)
    assert after(PROBING, BreakerEvent.PROBE_SUCCEEDED, 106) == CLOSED


def test_failed_probes() -> None:
    """The time doubles up to the maximum; a good probe sets it back."""
    state = PROBING
    waits_s = []
    for _ in range(3):
        state = after(state, BreakerEvent.PROBE_FAILED, 200)
        waits_s.append(state.retry_at_s - 200)
        state = after(state, BreakerEvent.PROBE_STARTED, state.retry_at_s)

    assert waits_s == [10, 15, 15]
    closed = after(state, BreakerEvent.PROBE_SUCCEEDED, 300)
    assert having(closed, [BreakerEvent.FAILED] * 3, 300).retry_at_s == 305


def test_probe_without_a_verdict() -> None:
    """Its call was cancelled: the next may probe at once, and nothing doubles."""
    state = after(PROBING, BreakerEvent.PROBE_ABANDONED, 107)

    assert allows(state, 107)
    again = after(after(state, BreakerEvent.PROBE_STARTED, 107), BreakerEvent.PROBE_FAILED, 107)
    assert again.retry_at_s == 117


@pytest.mark.parametrize("state", [OPEN, PROBING], ids=lambda state: state.phase.value)
@pytest.mark.parametrize("event", [BreakerEvent.FAILED, BreakerEvent.SUCCEEDED])
def test_end_of_a_call_from_before(state: BreakerState, event: BreakerEvent) -> None:
    """It says nothing new."""
    assert after(state, event, 106) == state


@pytest.mark.parametrize(("phase", "event"), ABSENT)
def test_event_that_cannot_be(phase: BreakerPhase, event: BreakerEvent) -> None:
    """It raises, naming both."""
    with pytest.raises(IllegalTransition, match=f"{event.value} while {phase.value}"):
        after(IN_PHASE[phase], event, 1e9)


def test_probe_too_early() -> None:
    """Whoever was not allowed must not begin."""
    with pytest.raises(IllegalTransition, match="1 s too early"):
        after(OPEN, BreakerEvent.PROBE_STARTED, 104)
