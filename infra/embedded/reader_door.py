"""How many connections the read-only endpoint has at once, and who goes when there are more.

Every account of this machine can connect, and each connection takes a file of the process that answers queries. So
there is a limit, and at the limit the longest there of those who have shown no token makes room. Whoever has shown it
stays; where all have, a newcomer is dropped. Connections that are taken in at the same moment are counted only after
it, so a burst may go beyond the limit by as many as wait in the kernel.
"""

from __future__ import annotations

import asyncio
from typing import Final, cast

from aiohttp.web_protocol import RequestHandler
from aiohttp.web_server import Server

__all__ = ["CONNECTIONS_MAX", "ReaderDoor"]

CONNECTIONS_MAX: Final = 256


class ReaderDoor:
    """Makes the protocol of each accepted connection."""

    def __init__(self, server: Server, connections_max: int = CONNECTIONS_MAX) -> None:
        self._server = server
        self.connections_max = connections_max
        self._known: set[RequestHandler] = set()

    def __call__(self) -> asyncio.Protocol:
        """A place for one more, or the end of it."""
        inside = [each for each in self._server.connections if each.transport and not each.transport.is_closing()]
        self._known.intersection_update(inside)
        if len(inside) < self.connections_max:
            return self._server()
        stranger = next((each for each in inside if each not in self._known), None)
        if stranger is None or stranger.transport is None:
            return ShutOut()
        stranger.transport.abort()
        return self._server()

    def know(self, connection: RequestHandler) -> None:
        """It has shown the token."""
        self._known.add(connection)


class ShutOut(asyncio.Protocol):
    """There is no room."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Drop it."""
        cast(asyncio.Transport, transport).abort()
