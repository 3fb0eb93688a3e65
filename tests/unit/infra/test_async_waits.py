"""Ends of tasks, and waits for events that last so long at most."""

from __future__ import annotations

import asyncio

from infra.async_waits import end_tasks, set_within

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
