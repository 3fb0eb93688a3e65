"""What depends on time: once a second every connection and every session is looked at, a few at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Final

import structlog

from gateway.clients.client_connection import ClientConnection
from gateway.clients.services import GatewayServices
from gateway.process.memory_relief import MemoryRelief
from gateway.process.open_connections import OpenConnections
from gateway.process.spread_work import spread
from gateway.sockets.decisions.client_outbox import OutboxState
from schemas.close_codes import INTERNAL_ERROR

__all__ = ["Upkeep"]

log = structlog.get_logger(__name__)

CONNECTIONS_AT_ONCE: Final = 32
"""Looked at before other work gets its turn; each takes some 7 µs."""
SESSIONS_AT_ONCE: Final = 128
"""The same; each takes 1 µs."""
CONNECTIONS_SHARE: Final = 0.6
SESSIONS_SHARE: Final = 0.3
"""Of the time between two looks at everybody, over which the looks are spread."""


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What one gateway does again and again, every tick."""

    services: GatewayServices
    connections: OpenConnections
    relief: MemoryRelief

    async def run(self) -> None:
        """Look again and again.

        Cancellation: some were looked at.
        """
        services, metrics, clock = self.services, self.services.metrics, self.services.clock
        while True:
            again_at_s = clock.monotonic_s() + services.rules.tick_s
            await self.look_at_connections()
            metrics.unsent_bytes.set(services.held_bytes.total)
            metrics.catch_up_reads.inc(services.catch_up.newly_read())
            await self.look_at_sessions()
            services.access.tick()
            fetched, left_out = services.reader.tick(clock.monotonic_s())
            metrics.sessions_fetched.set(fetched)
            metrics.sessions_left_out.set(left_out)
            self.relief.relieve()
            now_s = clock.monotonic_s()
            self.relief.collect(now_s)
            await asyncio.sleep(max(0.0, again_at_s - now_s))

    async def look_at_sessions(self) -> None:
        """A function of its own, so that what it saw last is let go of when it ends."""
        hubs, over_s = self.services.hubs, SESSIONS_SHARE * self.services.rules.tick_s
        hubs.absent.look()
        async for some in spread(hubs.all(), over_s, at_once=SESSIONS_AT_ONCE):
            self.relief.sessions_left(hubs.sweep(some, self.services.clock.monotonic_s()))

    async def look_at_connections(self) -> None:
        """Each that is still there; how many stand on which rung is for the metrics."""
        modes: Counter[OutboxState] = Counter()
        clock, metrics = self.services.clock, self.services.metrics
        over_s = CONNECTIONS_SHARE * self.services.rules.tick_s
        async for some in spread(list(self.connections), over_s, at_once=CONNECTIONS_AT_ONCE):
            now_s, wall_s = clock.monotonic_s(), clock.now_us() / 1_000_000
            for connection in some:
                if connection in self.connections:
                    look_at(connection, now_s, wall_s)
                    writer = connection.writer
                    modes[writer.outbox.state] += 1
        metrics.rolled_up.set(modes[OutboxState.ROLLUP])
        metrics.from_log.set(modes[OutboxState.LOG])
        metrics.connections.set(len(self.connections))


def look_at(connection: ClientConnection, now_s: float, wall_s: float) -> None:
    try:
        connection.tick(now_s, wall_s)
    except Exception:  # a fault of ours costs this client only: the others are looked at in any case
        log.exception("connection_failed")
        connection.close(INTERNAL_ERROR)
