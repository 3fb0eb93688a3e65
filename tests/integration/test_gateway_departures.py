"""What a connection leaves behind: nothing that only the collector would find, since that stops everybody's streams.

Covers: gateway.process.memory_relief.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.process.memory_relief import MemoryRelief
from schemas.close_codes import SLOW_READER
from tests.faults.memory_gateway import MemoryGateway, raw_follower
from tests.integration.process_probe import until

__all__: list[str] = []

FOLLOWERS = 3
GONE_S = 10.0


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Nothing goes while it is used but what nobody holds."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("how", ["cut off by the client", "aborted", "closed with a word"])
@pytest.mark.usefixtures("no_collector")
async def test_connection_goes_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """However it ends: the connection, its socket and the protocol are gone as soon as it is over."""
    monkeypatch.setattr(MemoryRelief, "collect", lambda *_: None)
    async with MemoryGateway.opened(tmp_path) as line:
        connections = line.gateway.connections
        async with asyncio.timeout(GONE_S):
            async with raw_follower(line.port, "s1"), raw_follower(line.port, "s1"), raw_follower(line.port, "s2"):
                await until(lambda: sum(known.requests is not None for known in connections) == FOLLOWERS)
                left: list[weakref.ref[Any]] = [
                    weakref.ref(part)
                    for connection in connections
                    for part in (connection, connection.socket, connection.socket.protocol)
                ]
                for connection in list(connections):
                    if how == "aborted":
                        connection.socket.abort()
                    elif how == "closed with a word":
                        connection.close(SLOW_READER)
                del connection
            await until(lambda: all(part() is None for part in left))

    assert len(left) == 3 * FOLLOWERS
