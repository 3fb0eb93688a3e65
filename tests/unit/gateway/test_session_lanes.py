"""Work of one connection waits in a bounded line."""

from __future__ import annotations

import asyncio
from functools import partial

from gateway.session_lanes import WORK_WAITING_MAX, SessionLanes

__all__: list[str] = []


async def test_reader_waits_while_the_line_is_full() -> None:
    """At the bound nothing more is read, until a piece of work is done, of whichever session."""
    done: list[int] = []
    gates = [asyncio.Event() for _ in range(WORK_WAITING_MAX)]

    async def work(number: int) -> None:
        await gates[number].wait()
        done.append(number)

    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        lanes = SessionLanes(tasks)
        await lanes.until_room()
        for number in range(WORK_WAITING_MAX):
            lanes.push(f"s{number % 2}", partial(work, number))
        reader = tasks.create_task(lanes.until_room())
        await asyncio.sleep(0)
        assert not reader.done()
        gates[1].set()
        await reader
        assert done == [1]
        for gate in gates:
            gate.set()

    assert sorted(done) == list(range(WORK_WAITING_MAX))
    assert [number for number in done if number % 2 == 0] == list(range(0, WORK_WAITING_MAX, 2))
    assert not lanes.lanes
    assert lanes.waiting == 0


async def test_reader_that_goes_leaves_nothing_behind() -> None:
    """Cancelled while it waits, it can wait again."""
    gate = asyncio.Event()
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        lanes = SessionLanes(tasks)
        for _ in range(WORK_WAITING_MAX):
            lanes.push("s1", gate.wait)  # type: ignore[arg-type]  # what it gives is not looked at
        first = tasks.create_task(lanes.until_room())
        await asyncio.sleep(0)
        first.cancel()
        second = tasks.create_task(lanes.until_room())
        await asyncio.sleep(0)
        assert not second.done()
        gate.set()
        await second
