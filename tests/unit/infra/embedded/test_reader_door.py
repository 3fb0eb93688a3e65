"""Connections of strangers, at the real endpoint; its engine is never asked."""

from __future__ import annotations

import asyncio
from pathlib import Path

from infra.clickhouse.decisions.reader_access import token_digest
from infra.clickhouse.embedded_reader import EmbeddedReader, ReaderLimits
from infra.clickhouse.engine_files import EngineFiles
from infra.embedded.clickhouse_http import ClickHouseEndpoint

__all__: list[str] = []

TOKEN = "a-token-of-more-than-thirty-two-characters"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def test_S14_connections_of_strangers_make_room(tmp_path: Path) -> None:
    """At the limit those who have shown no token go, the longest there first; whoever has shown it stays connected.

    Where all have shown it, a newcomer is dropped.
    """
    reader = EmbeddedReader(EngineFiles(tmp_path), ReaderLimits())
    endpoint = ClickHouseEndpoint(reader, 0, lambda: token_digest(TOKEN))
    port = await endpoint.start()
    assert endpoint.door is not None
    endpoint.door.connections_max = 4
    opened: list[Streams] = []
    try:
        known = await connected(port, opened)
        await ask(known)
        strangers = [await connected(port, opened) for _ in range(20)]
        async with asyncio.timeout(10):
            gone = [await stranger[0].read() for stranger in strangers[:16]]
        await ask(known)
        friends = [known]
        for _ in range(3):
            friends.append(await connected(port, opened))
            await ask(friends[-1])
        async with asyncio.timeout(10):
            shut_out = await (await connected(port, opened))[0].read()
        for friend in friends:
            await ask(friend)
    finally:
        for _, writer in opened:
            writer.close()
        await endpoint.stop()

    assert gone == [b""] * 16
    assert shut_out == b""


async def connected(port: int, opened: list[Streams]) -> Streams:
    opened.append(await asyncio.open_connection("127.0.0.1", port))
    return opened[-1]


async def ask(streams: Streams) -> None:
    """Without a query: the endpoint itself says that it is there."""
    reader, writer = streams
    writer.write(f"GET / HTTP/1.1\r\nHost: localhost\r\nX-ClickHouse-Key: {TOKEN}\r\n\r\n".encode())
    async with asyncio.timeout(10):
        told = await reader.readuntil(b"\r\n\r\n")
        assert told.startswith(b"HTTP/1.1 200 "), told
        assert await reader.readexactly(4) == b"Ok.\n"
