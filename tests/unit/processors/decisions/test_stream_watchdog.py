"""Which deadline a stream has before it."""

from __future__ import annotations

import pytest

from processors.decisions.stream_watchdog import Deadline, Healthy, Stalled, StreamDeadlines, StreamProgress, watch

LIMITS = StreamDeadlines(connect_s=5, first_token_s=20, between_tokens_s=10, total_s=100, trailer_s=3)


@pytest.mark.parametrize(
    ("progress", "deadline", "at_s"),
    [
        (StreamProgress(0), "connect", 5),
        (StreamProgress(0, connected_s=1), "first_token", 20),
        (StreamProgress(0, connected_s=1, alive_s=30), "between_tokens", 40),
        (StreamProgress(0, connected_s=1, alive_s=95), "total", 100),
        (StreamProgress(0, connected_s=1, alive_s=30, finished_s=31), "trailer", 34),
    ],
)
def test_next_deadline(progress: StreamProgress, deadline: Deadline, at_s: float) -> None:
    """Each part of a stream has its own, and the total stands behind them all."""
    assert watch(progress, LIMITS, at_s - 0.1) == Healthy(at_s, deadline)
    assert watch(progress, LIMITS, at_s) == Stalled(deadline)


def test_time_spent_elsewhere() -> None:
    """It is added to every deadline but the total."""
    assert watch(StreamProgress(0, 1, 30, None, 25), LIMITS, 60) == Healthy(65, "between_tokens")
    assert watch(StreamProgress(0, 1, 30, None, 90), LIMITS, 60) == Healthy(100, "total")


def test_first_token_due_before_the_connection() -> None:
    """The nearer of the two is named."""
    assert watch(StreamProgress(0), StreamDeadlines(connect_s=9, first_token_s=2), 3) == Stalled("first_token")


def test_time_held_back_on_purpose() -> None:
    """It is added to the total as well: no deadline counts it."""
    assert watch(StreamProgress(0, 1, 30, None, 90, 80), LIMITS, 60) == Healthy(130, "between_tokens")
    assert watch(StreamProgress(0, 1, 95, None, 90, 80), LIMITS, 60) == Healthy(180, "total")
