"""Time in which the process ran."""

from __future__ import annotations

import asyncio

import pytest

from infra.awake_clock import LATE_S, PULSE_S, AwakeClock
from tests.fakes.virtual_loop import LoopClock, VirtualLoop, run_virtual

__all__: list[str] = []

SLEEP_S = 120.0


def test_process_that_stands_still() -> None:
    """What it slept is not counted, but for a moment; what it ran is, before and after; the wall clock goes on."""
    loop = VirtualLoop()
    clock = LoopClock(loop)
    awake = AwakeClock(clock)

    async def play() -> list[float]:
        seen = []
        awake.start()
        for _ in range(3):
            await asyncio.sleep(10.0)
            seen.append(awake.monotonic_s())
            loop.jumping.elapsed_s += SLEEP_S
            seen.append(awake.monotonic_s())  # before the pulse has come
        await asyncio.sleep(10.0)
        seen.append(awake.monotonic_s())
        assert awake.now_us() == clock.now_us()
        awake.stop()
        stopped_s = awake.stood_still_s()
        await asyncio.sleep(10.0)
        assert awake.stood_still_s() == stopped_s
        return seen

    seen = run_virtual(loop, play())
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(40.0, abs=3 * (PULSE_S + LATE_S))


def test_process_that_runs() -> None:
    """Pulses that come a little late are no standstill."""
    loop = VirtualLoop()
    awake = AwakeClock(LoopClock(loop))

    async def play() -> float:
        awake.start()
        for _ in range(100):
            await asyncio.sleep(0.1)
            loop.jumping.elapsed_s += LATE_S / 2
        return awake.stood_still_s()

    assert run_virtual(loop, play()) == 0.0
