"""How long a prompt in the queue will wait."""

from __future__ import annotations

import pytest

from processors.targets.decisions.queue_wait import (
    TELL_EVERY_S,
    QueuePace,
    QueuePosition,
    Told,
    estimate_wait,
    pace_of,
    position_in_queue,
    worth_telling,
)
from processors.targets.decisions.rate_shares import RateLimits


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
    """The next to start has position 0; a rate limit holds everybody up, and then lets one start after the other."""
    assert position_in_queue(0, 2, [4.0]) == QueuePosition(0, 2.0)
    assert position_in_queue(4, 2, [4.0], not_before_s=30) == QueuePosition(4, 30)
    assert position_in_queue(4, 2, [], not_before_s=30) == QueuePosition(4, 30)
    assert position_in_queue(4, 2, [1.0], not_before_s=30, spacing_s=2) == QueuePosition(4, 38)
    assert position_in_queue(4, 2, [], not_before_s=-1) == QueuePosition(4, None)
    assert position_in_queue(-3, 2, [4.0]) == QueuePosition(0, 2.0)


def test_pace() -> None:
    """Places add up to what the worker makes at most; rates add up, the stricter of two limits of one target counts."""
    groq = RateLimits(requests_per_minute=30, tokens_per_minute=12_000, concurrent_max=8)

    assert pace_of([groq], 1_000, calls_max=512) == QueuePace(8, 5.0)
    assert pace_of([groq], 100, calls_max=512) == QueuePace(8, 2.0)
    assert pace_of([groq, groq], 1_000, calls_max=12) == QueuePace(12, 2.5)
    assert pace_of([groq, RateLimits()], 1_000, calls_max=512) == QueuePace(512, 0.0)
    assert pace_of([], 1_000, calls_max=512) == QueuePace(0, 0.0)


@pytest.mark.parametrize(
    ("told", "position", "now_s", "worth"),
    [
        (None, 3, 0.0, True),
        (Told(3, 0.0), 3, 99.0, False),
        (Told(3, 0.0), 2, 0.1, False),
        (Told(3, 0.0), 2, TELL_EVERY_S, True),
        (Told(3, 0.0), 0, 0.1, True),
        (Told(3, 0.0, was_next=True), 0, 0.1, False),
        (Told(3, 0.0, was_next=True), 0, TELL_EVERY_S, True),
        (Told(0, 0.0, was_next=True), 2, TELL_EVERY_S, True),
        (Told(200, 0.0), 190, 60.0, False),
        (Told(200, 0.0), 180, 60.0, True),
    ],
)
def test_worth_telling(told: Told | None, position: int, now_s: float, worth: bool) -> None:
    """The beginning, the front of the queue, and between them what moved noticeably, now and then."""
    assert worth_telling(told, position, now_s) == worth
