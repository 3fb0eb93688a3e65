"""Ends of tasks, waits for events that last so long at most, and work that is done again until it is done."""

from __future__ import annotations

import asyncio

import pytest

from infra.async_waits import done_at_last, end_tasks, set_within
from infra.decisions.backoff import Backoff

__all__: list[str] = []


async def test_tasks_that_are_ended() -> None:
    """Each has ended when the call returns, the one that fails as it ends too; one that was never begun counts for
    nothing."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def ends_slowly() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.set()
            raise ValueError

    waiting = asyncio.create_task(ends_slowly())
    await begun.wait()
    await end_tasks(None, waiting)

    assert ended.is_set()
    assert isinstance(waiting.exception(), ValueError)
    await end_tasks()


async def test_event_that_is_waited_for() -> None:
    """True once it is set, however late where there is no limit; False when the time is over."""
    event = asyncio.Event()
    assert not await set_within(event, 0.0)

    asyncio.get_running_loop().call_soon(event.set)
    assert await set_within(event, None)
    assert await set_within(event, 0.0)


@pytest.mark.parametrize(("failures", "tries"), [(0, 1), (2, 3), (3, 3), (9, 3)])
async def test_work_that_is_done_at_last(failures: int, tries: int) -> None:
    """As often as it fails, each failure told with its pause; the last try's failure is the caller's."""
    told: list[tuple[str, float]] = []
    numbers = iter(range(failures))

    async def work() -> str:
        number = next(numbers, None)
        if number is not None:
            raise ConnectionError(number)
        return "done"

    backoff = Backoff(0.001, growth="doubling", tries_max=3)
    doing = done_at_last(work, backoff, (OSError,), lambda error, pause_s: told.append((str(error), pause_s)))
    if failures < backoff.tries_max:
        assert await doing == "done"
    else:
        with pytest.raises(ConnectionError, match="2"):
            await doing

    assert told == [("0", 0.001), ("1", 0.002)][: tries - 1]


async def test_work_that_fails_for_good() -> None:
    """Another failure than those that pass is the caller's at once."""
    with pytest.raises(ZeroDivisionError):
        await done_at_last(fail_for_good, Backoff(60.0), (OSError,))


async def test_work_whose_failure_is_found_to_be_for_good() -> None:
    """Whoever hears of a failure may say so by raising it."""
    tries = iter(range(9))

    async def work() -> None:
        raise ConnectionError(next(tries))

    def told(error: ConnectionError, _: float) -> None:
        if str(error) == "2":
            raise error

    with pytest.raises(ConnectionError, match="2"):
        await done_at_last(work, Backoff(0.001), ConnectionError, told)


async def fail_for_good() -> None:
    raise ZeroDivisionError
