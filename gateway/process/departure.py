"""Leaving: accept no more, tell every client when to come back elsewhere, and close it at its slot."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from websockets.asyncio.server import Server

from gateway.clients.client_connection import ClientConnection
from gateway.clients.services import GatewayRules
from gateway.process.decisions.drain_plan import drain_slots
from gateway.process.decisions.stop_times import CLOSING_S
from gateway.process.open_connections import OpenConnections
from gateway.process.readiness import Readiness
from schemas.close_codes import RESTARTING

__all__ = ["Departure"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Departure:
    """The departure of one gateway."""

    rules: GatewayRules
    connections: OpenConnections
    server: Server
    readiness: Readiness
    farewells: Callable[[], Awaitable[None]]
    """Tells the workers that nobody follows their sessions here any more."""

    async def leave(self) -> None:
        """Accept no more, send everybody elsewhere, each at its slot, and wait for them, not for long.

        Cancellation: whoever is still here is dropped, and resumes from its own cursors.
        """
        self.readiness.draining = True
        self.server.close(close_connections=False)
        leaving = list(self.connections)
        log.info("gateway_leaves", clients=len(leaving))
        try:
            await self.drain(leaving)
            async with asyncio.timeout(CLOSING_S):
                await self.server.wait_closed()
        except TimeoutError:
            pass
        finally:
            for connection in self.connections:
                connection.socket.abort()
        await self.farewells()
        await self.readiness.close()
        log.info("gateway_left", clients=len(leaving))

    async def drain(self, leaving: list[ClientConnection]) -> None:
        """Tell each client its slot, serve it until then, and close it there; over early when all have gone."""
        slots = drain_slots(
            [connection.is_streaming() for connection in leaving],
            window_s_max=self.rules.drain_s,
            per_s=self.rules.drain_clients_per_s,
        )
        began_s = asyncio.get_running_loop().time()
        for slot in slots:
            leaving[slot.index].drain(slot.at_s)
        for slot in slots:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(began_s + slot.at_s):
                    await self.connections.none.wait()
            if leaving[slot.index] in self.connections:
                leaving[slot.index].close(RESTARTING)
        for connection in self.connections:  # those that were still in the doorway when the others were told
            connection.close(RESTARTING)
