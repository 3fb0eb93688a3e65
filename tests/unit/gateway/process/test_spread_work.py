"""Work that is spread over a while."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest

from gateway.process.spread_work import spread
from tests.fakes.virtual_loop import VirtualLoop, run_virtual

__all__: list[str] = []

AT_ONCE = 32


@pytest.mark.parametrize("count", [0, 1, AT_ONCE, AT_ONCE + 1, 10 * AT_ONCE + 5])
def test_each_thing_once_in_even_steps(count: int) -> None:
    """In order, few at a time, the last ones within the time."""
    loop = VirtualLoop()
    given: list[int] = []
    began_s: list[float] = []

    async def play() -> float:
        async for some in spread(range(count), 0.6, at_once=AT_ONCE):
            assert 0 < len(some) <= AT_ONCE
            given.extend(some)
            began_s.append(loop.time())
        return loop.time()

    ended_s = run_virtual(loop, play())
    assert given == list(range(count))
    steps_s = [later - earlier for earlier, later in itertools.pairwise(began_s)]
    assert all(abs(step_s - 0.6 * AT_ONCE / count) < 1e-6 for step_s in steps_s)
    if count:
        assert ended_s - began_s[0] == pytest.approx(0.6)


async def test_work_that_takes_longer_is_not_held_up() -> None:
    """Behind time there are no pauses, only turns for others."""
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count_turns())
    async for _ in spread(range(10 * AT_ONCE), 0.0, at_once=AT_ONCE):
        time.sleep(0.001)  # noqa: ASYNC251  # work that holds the loop
    counting.cancel()

    assert turns >= 9
