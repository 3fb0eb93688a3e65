"""A search's deadline moves with the time in line, and with nothing else."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from processors.targets.decisions.patience import Patience

SPANS = st.lists(st.tuples(st.booleans(), st.integers(0, 2_000)), max_size=20)


@given(st.integers(0, 900), st.integers(0, 5_000), SPANS)
def test_deadline_moves_by_the_time_in_line(left_s: int, room_s: int, spans: list[tuple[bool, int]]) -> None:
    """By exactly that time until the latest moment is reached; never back, never beyond."""
    patience = Patience(deadline_s=left_s, latest_s=left_s + room_s, looked_s=0.0)
    now_s, in_line_s = 0, 0
    for in_line, span_s in spans:
        patience = patience.waiting(now_s, is_queued=in_line)
        now_s += span_s
        in_line_s += span_s if in_line else 0
        before_s = patience.deadline_s
        patience = patience.at(now_s)
        assert patience.deadline_s >= before_s
    assert patience.deadline_s == left_s + min(in_line_s, room_s)
    assert patience.over == (now_s >= patience.deadline_s)


@given(st.integers(0, 900), st.integers(-1_000, 0))
def test_latest_moment_before_the_deadline_takes_nothing_away(left_s: int, room_s: int) -> None:
    """Where no time in line is granted, the deadline stands."""
    patience = Patience(deadline_s=left_s, latest_s=left_s + room_s, looked_s=0.0)

    assert patience.at(10_000.0).deadline_s == left_s


def test_clock_read_twice_changes_nothing() -> None:
    """An earlier or the same moment is no time."""
    patience = Patience(deadline_s=5.0, latest_s=50.0, looked_s=3.0)

    assert patience.at(3.0) is patience
    assert patience.at(2.0) is patience
