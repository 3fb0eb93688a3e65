"""Which deadline a stream has before it."""

from __future__ import annotations

import pytest

from processors.providers.decisions.stream_watchdog import (
    LOOK_AGAIN_S,
    Deadline,
    Healthy,
    Late,
    Stalled,
    StreamDeadlines,
    StreamProgress,
    watch,
)

LIMITS = StreamDeadlines(
    connect_s=5, late_s=2.5, leave_s=4, first_token_s=20, between_tokens_s=10, total_s=100, trailer_s=3
)


@pytest.mark.parametrize(
    ("progress", "deadline", "at_s"),
    [
        (StreamProgress(0, alive_s=30), "between_tokens", 40),
        (StreamProgress(0, alive_s=95), "total", 100),
        (StreamProgress(0, alive_s=30, finished_s=31), "trailer", 34),
    ],
)
def test_next_deadline(progress: StreamProgress, deadline: Deadline, at_s: float) -> None:
    """Each part of a stream has its own, and the total stands behind them all."""
    assert watch(progress, LIMITS, at_s - 0.1) == Healthy(at_s, deadline)
    assert watch(progress, LIMITS, at_s) == Stalled(deadline)


@pytest.mark.parametrize(
    ("looked_s", "now_s", "verdict"),
    [
        (None, 2.4, Healthy(2.5, "first_token")),
        (None, 2.5, Late(may_leave=False)),
        (2.5, 2.5, Healthy(3.5, "first_token")),
        (3.5, 3.5, Healthy(4, "first_token")),
        (3.5, 4, Late(may_leave=True)),
        (4, 4, Healthy(4 + LOOK_AGAIN_S, "first_token")),
        (19.5, 19.5, Healthy(20, "first_token")),
        (19.5, 20, Stalled("first_token")),
    ],
)
def test_first_token(looked_s: float | None, now_s: float, verdict: object) -> None:
    """On time, then late every second, from `leave_s` on with leave to go elsewhere, then given up."""
    assert watch(StreamProgress(0, looked_s=looked_s), LIMITS, now_s) == verdict


def test_first_token_whose_deadline_is_stated() -> None:
    """Nobody is looked for before it, and it holds."""
    stated = StreamDeadlines(late_s=5, leave_s=7, first_token_s=7)

    assert watch(StreamProgress(0), stated, 5) == Late(may_leave=False)
    assert watch(StreamProgress(0, looked_s=6), stated, 6.9) == Healthy(7, "first_token")
    assert watch(StreamProgress(0, looked_s=6), stated, 7) == Stalled("first_token")


def test_time_spent_elsewhere() -> None:
    """It is added to every deadline but the total."""
    assert watch(StreamProgress(0, 30, None, 25), LIMITS, 60) == Healthy(65, "between_tokens")
    assert watch(StreamProgress(0, 30, None, 90), LIMITS, 60) == Healthy(100, "total")
    assert watch(StreamProgress(0, away_s=3), LIMITS, 5) == Healthy(5.5, "first_token")


def test_time_held_back_on_purpose() -> None:
    """It is added to the total as well: no deadline counts it."""
    assert watch(StreamProgress(0, 30, None, 90, 80), LIMITS, 60) == Healthy(130, "between_tokens")
    assert watch(StreamProgress(0, 95, None, 90, 80), LIMITS, 60) == Healthy(180, "total")
