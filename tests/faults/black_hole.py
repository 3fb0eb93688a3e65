"""A TCP proxy that can swallow everything: both sides stay connected, acknowledge what they are sent, and hear nothing.

What a client behind a dead mobile network or a lost NAT entry looks like from either end. The proxy's own kernel
buffers fill, as routers' do, so whoever goes on writing is in the end not taken from any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

__all__ = ["BlackHole"]

PIECE_BYTES: Final = 65_536


class BlackHole:
    """Passes bytes on until `swallow` is called."""

    def __init__(self, gateway_port: int) -> None:
        self.gateway_port = gateway_port
        self.port = 0
        self.passing = asyncio.Event()
        self.passing.set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.swallowed_bytes = 0

    def swallow(self) -> None:
        """From now on nothing comes through, either way, and nobody is told."""
        self.passing.clear()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gateway_reader, gateway_writer = await asyncio.open_connection("127.0.0.1", self.gateway_port)
        for source, target in ((reader, gateway_writer), (gateway_reader, writer)):
            task = asyncio.create_task(self.carry(source, target))
            self.tasks.add(task)

    async def carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        try:
            while piece := await source.read(PIECE_BYTES):
                if not self.passing.is_set():
                    self.swallowed_bytes += len(piece)
                    await asyncio.Event().wait()  # reads no more, says nothing, keeps both sockets
                target.write(piece)
                await target.drain()
        except ConnectionError:
            pass
        finally:
            target.transport.abort()

    @classmethod
    @asynccontextmanager
    async def opened(cls, gateway_port: int) -> AsyncIterator[BlackHole]:
        """In front of a gateway on this machine."""
        proxy = cls(gateway_port)
        server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        try:
            yield proxy
        finally:
            server.close()
            for task in proxy.tasks:
                task.cancel()
            await asyncio.gather(*proxy.tasks, return_exceptions=True)
