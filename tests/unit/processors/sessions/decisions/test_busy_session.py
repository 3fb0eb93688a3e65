"""Which turns of a session start, and what a prompt does to those that are open."""

from __future__ import annotations

import pytest

from processors.sessions.decisions.busy_session import (
    BusyDecision,
    Join,
    LaneTurn,
    Refuse,
    Supersede,
    decide_busy,
    eta_s,
    may_start,
    smoothed,
    stronger_stop,
)
from schemas.journal import StopKind
from schemas.prompts import OnBusy

__all__: list[str] = []

RUNS = LaneTurn("p1", claimed=True)
OVER = LaneTurn("p1", claimed=True, over=True)
WAITS = LaneTurn("p2")
BESIDE = LaneTurn("p3", beside=True)


@pytest.mark.parametrize(
    ("on_busy", "busy"),
    [
        ("enqueue", Join()),
        ("parallel", Join()),
        ("reject", Refuse()),
        ("interrupt", Supersede("superseded")),
        ("rollback", Supersede("rolled_back")),
    ],
)
def test_prompt_in_a_busy_session(on_busy: OnBusy, busy: BusyDecision) -> None:
    """It does as it was asked while a turn is open, and starts like any other where none is."""
    assert decide_busy(on_busy, [RUNS]) == busy
    assert decide_busy(on_busy, [OVER, WAITS]) == busy
    assert decide_busy(on_busy, []) == decide_busy(on_busy, [OVER]) == Join()


@pytest.mark.parametrize(
    ("lane", "starting"),
    [
        ([], ()),
        ([WAITS], (0,)),
        ([RUNS, WAITS], ()),
        ([OVER, WAITS], ()),
        ([RUNS, WAITS, BESIDE], (2,)),
        ([BESIDE, WAITS], (0,)),
        ([RUNS, BESIDE, LaneTurn("p4", beside=True)], (1,)),
        ([WAITS, WAITS, WAITS, LaneTurn("p4")], (0, 1, 2)),
        ([RUNS, LaneTurn("p1")], (1,)),
        ([RUNS, WAITS, LaneTurn("p1")], ()),
    ],
)
def test_line(lane: list[LaneTurn], starting: tuple[int, ...]) -> None:
    """The head and its prompt's other turns, and whoever runs beside them, two prompts at a time."""
    assert may_start(lane, prompts_max=2) == starting


@pytest.mark.parametrize(
    ("known", "asked", "stop"),
    [
        (None, "left", "left"),
        ("cancelled", "left", "cancelled"),
        ("left", "cancelled", "cancelled"),
        ("cancelled", "rolled_back", "rolled_back"),
        ("superseded", "superseded", "superseded"),
    ],
)
def test_two_reasons_to_stop(known: StopKind | None, asked: StopKind, stop: StopKind) -> None:
    """The one that says more of what the user wants."""
    assert stronger_stop(known, asked) == stop


def test_expected_wait() -> None:
    """What is left of the turns that run, and all of those that wait; nothing where durations are not known."""
    assert eta_s([3.0, None], 10.0) == 17.0
    assert eta_s([12.0], 10.0) == 0.0
    assert eta_s([], 10.0) is None
    assert eta_s([1.0], None) is None


def test_typical_duration() -> None:
    """The first one is all that is known; later ones move it a little each."""
    assert smoothed(None, 10.0) == 10.0
    assert smoothed(10.0, 20.0) == 12.0
