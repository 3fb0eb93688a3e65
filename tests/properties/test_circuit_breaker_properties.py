"""The breaker over any history of calls that overlap, end late, or are cancelled."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

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

LIMITS = BreakerLimits(consecutive_failures_max=3, share_calls_min=6, open_s=5, open_s_max=30)

histories = st.lists(
    st.tuples(st.floats(0, 8), st.sampled_from(["begin", "fail", "succeed", "cancel"]), st.integers(0, 30)),
    max_size=100,
)


@dataclass
class Target:
    """Calls that are out, each true where it is the probe."""

    state: BreakerState = field(default_factory=lambda: BreakerState(LIMITS))
    now_s: float = 0.0
    out: list[bool] = field(default_factory=list)

    def act(self, act: str, which: int) -> None:
        """Begin a call if the breaker lets it, or end one that is out."""
        if act == "begin":
            self.begin()
        elif self.out:
            self.end(act, is_probe=self.out.pop(which % len(self.out)))

    def begin(self) -> None:
        if not allows(self.state, self.now_s):
            return
        is_probe = self.state.phase is not BreakerPhase.CLOSED
        if is_probe:
            self.state = after(self.state, BreakerEvent.PROBE_STARTED, self.now_s)
        self.out.append(is_probe)

    def end(self, act: str, *, is_probe: bool) -> None:
        plain = {"fail": BreakerEvent.FAILED, "succeed": BreakerEvent.SUCCEEDED}
        verdicts = {
            "fail": BreakerEvent.PROBE_FAILED,
            "succeed": BreakerEvent.PROBE_SUCCEEDED,
            "cancel": BreakerEvent.PROBE_ABANDONED,
        }
        event = verdicts[act] if is_probe else plain.get(act)
        if event is not None:
            self.state = after(self.state, event, self.now_s)


def lived_through(history: list[tuple[float, str, int]]) -> Target:
    target = Target()
    for gap_s, act, which in history:
        target.now_s += gap_s
        target.act(act, which)
    return target


@given(histories)
def test_one_probe_at_a_time(history: list[tuple[float, str, int]]) -> None:
    """While it is not closed at most one call is let through, and it stays open no longer than the maximum."""
    target = Target()
    for gap_s, act, which in history:
        target.now_s += gap_s
        target.act(act, which)

        assert sum(target.out) == (target.state.phase is BreakerPhase.PROBING)
        assert target.state.retry_at_s <= target.now_s + LIMITS.open_s_max
        assert len(target.state.outcomes) <= 6


@given(histories, st.integers(1, 50))
def test_crowd_at_the_end_of_the_opening(history: list[tuple[float, str, int]], crowd: int) -> None:
    """However many ask at the same instant, one goes."""
    target = lived_through(history)
    while target.state.phase is BreakerPhase.CLOSED:
        target.begin()
        target.act("fail", 0)
    target.now_s = max(target.now_s, target.state.retry_at_s)
    for _ in range(crowd):
        target.begin()

    assert sum(target.out) == 1


@given(histories)
def test_no_dead_state(history: list[tuple[float, str, int]]) -> None:
    """Wherever it is, it closes once its probe has ended and one more has gone well."""
    target = lived_through(history)
    while target.out:
        target.act("fail", 0)
    target.now_s += LIMITS.open_s_max
    target.begin()
    target.act("succeed", len(target.out) - 1)

    assert target.state.phase is BreakerPhase.CLOSED


@given(histories, st.sampled_from(BreakerEvent))
def test_illegal_event(history: list[tuple[float, str, int]], event: BreakerEvent) -> None:
    """It raises where the table has no such pair, and only there or before its time."""
    target = lived_through(history)
    too_early = event is BreakerEvent.PROBE_STARTED and target.now_s < target.state.retry_at_s
    legal = (target.state.phase, event) in TRANSITIONS and not too_early
    with nullcontext() if legal else pytest.raises(IllegalTransition):
        after(target.state, event, target.now_s)


def test_every_phase_leads_to_every_other() -> None:
    """The table has no dead end and no orphan."""
    for start in BreakerPhase:
        reached = {start}
        while more := {after for (before, _), after in TRANSITIONS.items() if before in reached} - reached:
            reached |= more
        assert reached == set(BreakerPhase)
