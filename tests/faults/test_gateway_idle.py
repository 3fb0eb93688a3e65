"""Row G13 in miniature: many come, stay without a word, and leave. The hour: `make soak`."""

from __future__ import annotations

import asyncio
import gc
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Final

from websockets.exceptions import ConnectionClosed

from benchmarks.soak import slope_per_min
from gateway.hubs.session_hub import SessionHub
from gateway.hubs.session_hubs import IDLE_GRACE_S
from schemas.client_messages import Attach, Pong
from tests.faults.child_gateway import ChildGateway
from tests.faults.full_size import measured, sized
from tests.faults.memory_gateway import MemoryGateway
from tests.faults.on_uvloop import on_uvloop, until
from tests.integration.gateway_line import WireClient

CLIENTS: Final = sized(150, full=2_000)
STAY_S: Final = sized(2.0, full=90.0)
TICK_S: Final = sized(0.1, full=1.0)
PING_S: Final = sized(0.5, full=20.0)
GROWTH_MB_PER_MIN_MAX: Final = sized(100.0, full=1.0)
RECOVERED_MAX: Final = sized(1.5, full=1.2)


@on_uvloop
async def test_G13_clients_that_stay_without_a_word(tmp_path: Path) -> None:
    """Nobody is cut off, memory does not grow, and is given back when all have left. Only loose bounds when short."""
    async with ChildGateway.opened(
        tmp_path, limits={"sockets_per_user_max": CLIENTS}, ping_s=PING_S, pong_s=PING_S, tick_s=TICK_S
    ) as gateway:
        await stayed(gateway, clients=CLIENTS, seconds=0.0)  # what a gateway takes once is not theirs
        start_mb, files_before = gateway.resident_mb(), gateway.open_files()
        seen = await stayed(gateway, clients=CLIENTS, seconds=STAY_S)
        await until(lambda: gateway.open_files() <= files_before)
        recovered = gateway.resident_mb() / start_mb
        grown = slope_per_min(seen)
        measured(
            "G13",
            f"{CLIENTS} idle for {STAY_S:g} s: {start_mb:.1f} → {seen[-1][1]:.1f} MB, {grown:+.2f} MB/min while they "
            f"stay, {recovered:.2f} × the start after they left",
        )

    assert grown < GROWTH_MB_PER_MIN_MAX
    assert recovered <= RECOVERED_MAX


async def stayed(gateway: ChildGateway, *, clients: int, seconds: float) -> list[tuple[float, float]]:
    """Come, stay, leave: (second, MB) while all are there. Whoever is cut off meanwhile fails the test."""
    seen: list[tuple[float, float]] = []
    async with AsyncExitStack() as stack:
        answering = []
        for number in range(clients):
            client = WireClient.connected(gateway.port, ping_interval=None, close_timeout=1.0)
            here = await stack.enter_async_context(client)
            answering.append(asyncio.create_task(answer_pings(here)))  # from now on: others may take long to come
            await here.send(Attach(session=f"s{number % 50}"))
        began_s = time.monotonic()
        while not seen or seen[-1][0] < seconds:
            seen.append((time.monotonic() - began_s, gateway.resident_mb()))
            await asyncio.sleep(0.1)
        assert not any(task.done() for task in answering)
        for task in answering:
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)
    return seen


async def answer_pings(client: WireClient) -> None:
    with suppress(ConnectionClosed):
        async for frame in client.socket:
            if b'"ping"' in (frame if isinstance(frame, bytes) else frame.encode()):
                await client.send(Pong())


@on_uvloop
async def test_G13_sessions_that_nobody_follows_are_let_go_of(tmp_path: Path) -> None:
    """Once their grace is over nothing holds them, not even whoever looked at them last."""
    async with MemoryGateway.opened(tmp_path, tick_s=0.02) as gateway:
        hubs = gateway.gateway.services.hubs
        async with WireClient.connected(gateway.port) as client:
            for number in range(5):
                await client.send(Attach(session=f"s{number}"))
                await client.next("attached")
            seen = {id(hub) for hub in hubs.all()}
            await asyncio.sleep(0.1)  # so that they are looked at
        assert len(seen) == 5
        await until(lambda: not gateway.gateway.connections)
        for hub in hubs.all():
            hub.idle_since_s = time.monotonic() - IDLE_GRACE_S - 1
        del hub
        await until(lambda: not hubs.hubs)
        await until(lambda: not living(seen))


def living(seen: set[int]) -> list[SessionHub]:
    """Which of these sessions somebody still holds, were it only a task that is about to end."""
    gc.collect()
    return [thing for thing in gc.get_objects() if isinstance(thing, SessionHub) and id(thing) in seen]
