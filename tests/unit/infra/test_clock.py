from __future__ import annotations

import time

import pytest

from infra.clock import Clock, SystemClock
from tests.fakes.virtual_clock import VirtualClock

__all__: list[str] = []


def test_system_clock_tells_wall_time_in_microseconds() -> None:
    """now_us is the machine's wall clock, to the microsecond."""
    before_us = time.time_ns() // 1_000
    now_us = SystemClock().now_us()
    after_us = time.time_ns() // 1_000

    assert before_us <= now_us <= after_us


def test_system_clock_never_runs_backwards() -> None:
    """monotonic_s does not fall from one reading to the next."""
    clock = SystemClock()
    readings = [clock.monotonic_s() for _ in range(100)]

    assert readings == sorted(readings)


def test_virtual_clock_moves_both_clocks_together() -> None:
    """advance lets the same time pass on both clocks, and only then do they move."""
    clock = VirtualClock(now_us=1_000, monotonic_s=5.0)
    assert (clock.now_us(), clock.monotonic_s()) == (1_000, 5.0)

    clock.advance(1.5)

    assert (clock.now_us(), clock.monotonic_s()) == (1_501_000, 6.5)


def test_virtual_wall_clock_steps_back_alone() -> None:
    """A corrected wall clock leaves durations alone; time itself never passes backwards."""
    clock = VirtualClock(now_us=10_000_000, monotonic_s=5.0)
    clock.step_wall(-2.0)

    assert (clock.now_us(), clock.monotonic_s()) == (8_000_000, 5.0)
    with pytest.raises(ValueError, match="forwards"):
        clock.advance(-1.0)


def test_both_clocks_fit_the_protocol() -> None:
    """Either may stand where a Clock is asked for."""
    clocks: list[Clock] = [SystemClock(), VirtualClock()]

    assert all(clock.now_us() > 0 for clock in clocks)
