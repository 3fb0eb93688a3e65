"""Work of a connection: in order within a session, and no more read while there is no room."""

from __future__ import annotations

import asyncio

from gateway.clients.request_lanes import RequestLanes
from tests.unit.gateway.gateway_parts import settled


async def test_work_that_leaves_no_room() -> None:
    """While a long prompt is on its way nothing more is read, whatever else is done meanwhile; then it goes on."""
    done: list[str] = []
    gate = asyncio.Event()

    async def long() -> None:
        await gate.wait()
        done.append("long")

    async def short() -> None:
        done.append("short")

    async with asyncio.TaskGroup() as tasks:
        lanes = RequestLanes(tasks)
        lanes.push("a", long, fills=True)
        lanes.push("b", short)
        reading = tasks.create_task(lanes.until_room())
        await settled()
        before = (list(done), reading.done())
        gate.set()

    assert before == (["short"], False)
    assert done == ["short", "long"]
    assert reading.done()
    assert lanes.waiting == 0
