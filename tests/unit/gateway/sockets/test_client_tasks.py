"""What runs for one client: owned, ended, and heard of when it fails."""

from __future__ import annotations

import asyncio

from gateway.sockets.client_tasks import ClientTasks

__all__: list[str] = []


async def test_what_runs_ends_with_the_connection() -> None:
    """Also what takes its time to end, and what was begun meanwhile."""
    ended: list[str] = []
    failures: list[BaseException] = []
    tasks = ClientTasks(failures.append)

    async def work(name: str, *, begins: bool = False) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            if begins:
                tasks.create_task(work("begun at the end"))
            await asyncio.sleep(0.01)
            ended.append(name)

    tasks.create_task(work("one"))
    tasks.create_task(work("two", begins=True))
    await asyncio.sleep(0)
    await tasks.end()

    assert {"one", "two"} <= set(ended)
    assert tasks.running is None
    assert failures == []


async def test_failure_is_heard_of_at_once() -> None:
    """While the others go on; what is done is not kept."""
    failures: list[BaseException] = []
    tasks = ClientTasks(failures.append)

    async def fail() -> None:
        raise LookupError("gone")

    async def go_on() -> None:
        await asyncio.sleep(60)

    going_on = tasks.create_task(go_on())
    tasks.create_task(fail())
    await asyncio.sleep(0.01)

    assert [type(error) for error in failures] == [LookupError]
    assert tasks.running == {going_on}
    await tasks.end()
    await tasks.end()
    assert going_on.cancelled()
