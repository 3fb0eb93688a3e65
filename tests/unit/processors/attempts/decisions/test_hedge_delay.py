"""When a second target is asked."""

from __future__ import annotations

import pytest

from processors.attempts.decisions.hedge_delay import (
    CEILING_S,
    FLOOR_S,
    OBSERVED_MAX,
    OBSERVED_MIN,
    FirstTokenTimes,
    hedge_delay_s,
    observed,
)

__all__: list[str] = []


@pytest.mark.parametrize(
    ("times", "delay_s"),
    [
        ((), None),
        ((1.0,) * (OBSERVED_MIN - 1), None),
        ((1.0,) * OBSERVED_MIN, 1.0),
        (tuple(float(number) for number in range(1, 101)), CEILING_S),
        (tuple(number / 10 for number in range(1, 101)), 9.5),
        ((*[0.3] * 19, 4.0), 0.3),
        ((*[0.3] * 18, 4.0, 5.0), 4.0),
        ((0.001,) * 50, FLOOR_S),
    ],
)
def test_delay(times: FirstTokenTimes, delay_s: float | None) -> None:
    """The 95th percentile, within its bounds, once enough is known."""
    assert hedge_delay_s(times) == delay_s


def test_oldest_times_are_forgotten() -> None:
    """A target that has become faster is hedged sooner."""
    times: FirstTokenTimes = ()
    for number in range(3 * OBSERVED_MAX):
        times = observed(times, 9.0 if number < 2 * OBSERVED_MAX else 0.2)

    assert len(times) == OBSERVED_MAX
    assert hedge_delay_s(times) == 0.2
