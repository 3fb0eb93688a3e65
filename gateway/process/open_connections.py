"""The connections of one gateway, each from its first word to its last."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import structlog
from websockets.asyncio.server import ServerConnection

from gateway.clients.client_connection import ClientConnection
from gateway.clients.services import GatewayServices
from gateway.sockets.client_socket import ClientSocket
from schemas.close_codes import INTERNAL_ERROR
from schemas.identifiers import UserId

__all__ = ["OpenConnections"]

log = structlog.get_logger(__name__)


class OpenConnections:
    """The connections that are served now. Iterating goes over those that were there when it began."""

    def __init__(self) -> None:
        self.none = asyncio.Event()
        """Set while there is no connection."""
        self.none.set()
        self.gone = 0
        """How many have ended so far."""
        self._open: set[ClientConnection] = set()

    def __iter__(self) -> Iterator[ClientConnection]:
        return iter(list(self._open))

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, connection: object) -> bool:
        return connection in self._open

    def add(self, connection: ClientConnection) -> None:
        """It is served from now on."""
        self._open.add(connection)
        self.none.clear()

    def discard(self, connection: ClientConnection) -> None:
        """It has ended."""
        self._open.discard(connection)
        self.gone += 1
        if not self._open:
            self.none.set()

    async def serve(self, services: GatewayServices, socket: ServerConnection) -> None:
        """Serve one client: the root of everything done for it."""
        assert isinstance(socket, ClientSocket)
        socket.forget_handshake()
        connection = ClientConnection(socket, services)
        self.add(connection)
        try:
            await connection.run()
        except Exception:  # the root of a connection: a fault of ours costs this client only
            log.exception("connection_failed")
            connection.close(INTERNAL_ERROR)
        finally:
            self.discard(connection)

    def log_out(self, user: UserId, at_s: float) -> None:
        """A user's tokens were ended: its connections end with them."""
        for connection in self:
            if connection.protocol.user == user:
                connection.logged_out(at_s)
