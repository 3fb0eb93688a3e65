"""What the gateway's process owns: its loops, and each connection's look at the time.

Covers: gateway.process.open_connections, gateway.process.upkeep.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.clients.client_connection import ClientConnection
from gateway.process.memory_relief import MemoryRelief
from gateway.process.open_connections import OpenConnections
from gateway.process.server import until_told
from gateway.process.upkeep import Upkeep
from gateway.sockets.decisions.client_outbox import OutboxState
from schemas.close_codes import CloseCode
from tests.fakes.followed_log import FollowedLog, FollowedLogReader
from tests.fakes.virtual_clock import VirtualClock
from tests.unit.gateway.gateway_parts import services_over

__all__: list[str] = []


class StubConnection:
    """Looks at the time, or fails to."""

    def __init__(self, *, fails: bool) -> None:
        self.fails = fails
        self.looks = 0
        self.closed_with: list[str] = []
        self.writer = SimpleNamespace(outbox=SimpleNamespace(state=OutboxState.DIRECT))

    def tick(self, now_s: float, wall_s: float) -> None:
        """See `ClientConnection.tick`."""
        self.looks += 1
        if self.fails:
            raise RuntimeError("a fault of ours")

    def close(self, code: CloseCode) -> None:
        """See `ClientConnection.close`."""
        self.closed_with.append(code.reason)


async def test_look_at_a_connection_that_fails() -> None:
    """It is closed with a word; all the others are looked at, now and the next time."""
    log, clock, connections = FollowedLog(), VirtualClock(), OpenConnections()
    services = services_over(log, FollowedLogReader(log), clock=clock)
    services = replace(services, rules=replace(services.rules, tick_s=0.0))  # the looks need not be spread
    upkeep = Upkeep(services, connections, MemoryRelief(services, connections))
    stubs = [StubConnection(fails=number == 3) for number in range(8)]
    for stub in stubs:
        connections.add(cast(ClientConnection, stub))
    for _ in range(2):
        await upkeep.look_at_connections()

    assert [stub.looks for stub in stubs] == [2] * 8
    assert [len(stub.closed_with) for stub in stubs] == [0, 0, 0, 2, 0, 0, 0, 0]


async def ends(error: Exception | None = None) -> None:
    await asyncio.sleep(0)
    if error is not None:
        raise error


async def goes_on() -> None:
    await asyncio.Event().wait()


async def test_loop_that_fails_is_the_end() -> None:
    """Whoever serves hears why, and no longer waits to be told to stop."""
    going: list[asyncio.Task[Any]] = [asyncio.create_task(goes_on()), asyncio.create_task(ends(RuntimeError("tick")))]
    with pytest.raises(RuntimeError, match="tick"):
        async with asyncio.timeout(10):
            await until_told(asyncio.Event(), going)
    going[0].cancel()


async def test_told_to_stop() -> None:
    """It returns, and leaves the loops to whoever owns them."""
    stop, going = asyncio.Event(), [asyncio.create_task(goes_on())]
    asyncio.get_running_loop().call_soon(stop.set)
    async with asyncio.timeout(10):
        await until_told(stop, going)

    assert not going[0].done()
    going[0].cancel()
