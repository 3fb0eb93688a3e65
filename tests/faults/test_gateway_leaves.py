"""A gateway that is asked to stop: everybody is sent elsewhere at a slot of its own, and nobody misses a token."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from schemas.client_messages import Attach
from schemas.gateway_messages import Delta, Drain
from tests.faults.full_size import sized
from tests.faults.memory_gateway import MemoryGateway
from tests.integration.gateway_line import WireClient, answer_events

SESSION = "s1"


async def left(client: WireClient, began_s: float) -> tuple[float, int, Drain]:
    """Read to the end: seconds from the start, the close code, and the notice before."""
    code, words = await client.closed()
    assert words is not None
    assert words.reconnect
    (notice,) = (message for message in client.told if isinstance(message, Drain))
    return time.monotonic() - began_s, code, notice


async def test_G6_clients_go_one_after_the_other(tmp_path: Path) -> None:
    """Each is told its slot and closed with 1012 there, evenly over the window."""
    clients, window_s = sized(20, 200), sized(1.0, 5.0)
    async with MemoryGateway.opened(tmp_path, drain_s=window_s, drain_clients_per_s=1.0) as gateway:
        async with asyncio.TaskGroup() as tasks:
            opened = [WireClient.connected(gateway.port) for _ in range(clients)]
            peers = [await client.__aenter__() for client in opened]
            began_s = time.monotonic()
            leaving = tasks.create_task(gateway.gateway.departure.leave())
            told = [tasks.create_task(left(peer, began_s)) for peer in peers]
        for client in opened:
            await client.__aexit__(None, None, None)
    ends = sorted((notice.reconnect_in_ms, at_s, code) for at_s, code, notice in (task.result() for task in told))

    assert leaving.done()
    assert {code for _, _, code in ends} == {1012}
    slots = [slot_ms for slot_ms, _, _ in ends]
    assert slots == [round(1_000 * window_s * (place + 1) / clients) for place in range(clients)]
    assert all(at_s >= slot_ms / 1_000 - 0.005 for slot_ms, at_s, _ in ends)


async def test_G6_answers_go_on_until_the_slot_and_resume_elsewhere(tmp_path: Path) -> None:
    """What is said while the gateway drains is told; after it the cursor of the goodbye misses and repeats nothing."""
    first, second, third = "before ", "while it drains ", "after"
    events = answer_events("t1", [first, second, third])
    async with MemoryGateway.opened(tmp_path / "one", drain_s=0.5, drain_clients_per_s=1.0) as gateway:
        async with WireClient.connected(gateway.port) as client:
            await client.send(Attach(session=SESSION))
            await client.next("attached")
            await gateway.append(SESSION, events[:3])
            await client.until("delta")
            leaving = asyncio.create_task(gateway.gateway.departure.leave())
            notice = await client.until("drain")
            await gateway.append(SESSION, events[3:4])
            told = await client.until("delta")
            _, words = await client.closed()
            await leaving
        log = gateway.log

        assert told.text == second
        assert words is not None
        assert notice.cursors[SESSION] != words.cursors[SESSION] == told.c
        async with (
            MemoryGateway.opened(tmp_path / "two", log=log) as sibling,
            WireClient.connected(sibling.port, resume=words.cursors) as resumed,
        ):
            await resumed.next("attached")
            await sibling.append(SESSION, events[4:])
            end = await resumed.until("end")

    texts = [message.text for message in resumed.told if isinstance(message, Delta)]
    assert texts == [third]
    assert end.reason == "complete"


async def test_G6_nobody_left_ends_it_early(tmp_path: Path) -> None:
    """Clients that go on their own shorten the window."""
    async with MemoryGateway.opened(tmp_path, drain_s=30.0, drain_clients_per_s=0.01) as gateway:
        async with WireClient.connected(gateway.port) as client:
            leaving = asyncio.create_task(gateway.gateway.departure.leave())
            await client.until("drain")
        async with asyncio.timeout(5):
            await leaving
