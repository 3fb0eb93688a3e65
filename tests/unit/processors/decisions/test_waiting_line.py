"""How long a prompt in line will wait."""

from __future__ import annotations

import pytest

from processors.decisions.waiting_line import LinePlace, estimate_wait, place_in_line


@pytest.mark.parametrize(
    ("before", "capacity", "durations_s", "wait_s"),
    [(0, 1, [4.0], 4.0), (9, 5, [2.0, 4.0], 6.0), (-1, 2, [4.0], 2.0), (3, 1, [-5.0, 2.0], 4.0)],
)
def test_estimate(before: int, capacity: int, durations_s: list[float], wait_s: float) -> None:
    """As many completions as there are before it and one, at the pace of the recent ones."""
    assert estimate_wait(before, capacity, durations_s) == wait_s


@pytest.mark.parametrize(("capacity", "durations_s"), [(0, [1.0]), (3, [])])
def test_nothing_to_go_by(capacity: int, durations_s: list[float]) -> None:
    """No estimate is better than one made up."""
    assert estimate_wait(5, capacity, durations_s) is None


def test_place() -> None:
    """The next to start is the first; a rate limit holds everybody up."""
    assert place_in_line(0, 2, [4.0]) == LinePlace(1, 2.0)
    assert place_in_line(4, 2, [4.0], not_before_s=30) == LinePlace(5, 30)
    assert place_in_line(4, 2, [], not_before_s=30) == LinePlace(5, None)
