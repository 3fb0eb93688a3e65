"""The estimate over any queue."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from processors.targets.decisions.queue_wait import estimate_wait, position_in_queue

durations = st.lists(st.floats(-1, 1e4), max_size=20)


@given(st.integers(0, 1_000), st.integers(0, 100), st.integers(0, 500), st.integers(0, 50), durations)
def test_any_line(before: int, capacity: int, more: int, places: int, durations_s: list[float]) -> None:
    """Never negative; longer with more before it, shorter with more places, none without anything to go by."""
    wait_s = estimate_wait(before, capacity, durations_s)
    if wait_s is None:
        assert capacity == 0 or not durations_s
        return
    behind_s = estimate_wait(before + more, capacity, durations_s)
    roomier_s = estimate_wait(before, capacity + places, durations_s)

    assert wait_s >= 0
    assert behind_s is not None
    assert roomier_s is not None
    assert roomier_s <= wait_s <= behind_s


@given(st.integers(0, 1_000), st.integers(1, 100), st.lists(st.floats(0, 1e4), min_size=1), st.floats(0, 1e4))
def test_any_slower_calls(before: int, capacity: int, durations_s: list[float], slower_s: float) -> None:
    """Longer calls never shorten the wait, and a rate limit is a floor."""
    wait_s = estimate_wait(before, capacity, durations_s)
    slower_wait_s = estimate_wait(before, capacity, [duration_s + slower_s for duration_s in durations_s])
    place = position_in_queue(before, capacity, durations_s, not_before_s=slower_s)

    assert wait_s is not None
    assert slower_wait_s is not None
    assert wait_s <= slower_wait_s
    assert place.position == before
    assert place.eta_s == max(wait_s, slower_s)
