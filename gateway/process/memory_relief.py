"""Memory: what connections and sessions left behind is given back, and what is owed to clients stays within its cap."""

from __future__ import annotations

from gateway.clients.services import GatewayServices
from gateway.process.decisions.collection_rule import Relief, relief_due
from gateway.process.open_connections import OpenConnections
from gateway.sockets.decisions.connection_limits import relieved
from infra.interpreter_settings import give_back, trim

__all__ = ["MemoryRelief"]


class MemoryRelief:
    """What keeps one gateway's memory small; looked at about once a second."""

    def __init__(self, services: GatewayServices, connections: OpenConnections) -> None:
        self._connections = connections
        self._limits, self._held = services.rules.connection_limits, services.held_bytes
        self._sessions_gone = 0
        self._collected = 0
        """Connections and sessions that had gone when garbage was last looked for."""
        self._trimmed = 0
        """The same, when pages were last given back."""
        self._collected_at_s = services.clock.monotonic_s()
        self._again = False

    def sessions_left(self, sessions: int) -> None:
        """So many sessions were dropped."""
        self._sessions_gone += sessions

    def relieve(self) -> None:
        """Beyond the process's cap of bytes, those who owe most give up what waits for them."""
        if self._held.total < self._limits.held_bytes_max:
            return
        connections = list(self._connections)
        outboxes = [connection.writer.outbox for connection in connections]
        unsent = [outbox.unsent_bytes + outbox.parked_bytes for outbox in outboxes]
        for index in relieved(unsent, self._held.total, self._limits):
            connections[index].relieve()

    def collect(self, now_s: float) -> None:
        """Give back what connections and sessions left behind, when that is worth the pause."""
        present, gone = len(self._connections), self._connections.gone + self._sessions_gone
        left, since_s = gone - self._collected, now_s - self._collected_at_s
        relief = relief_due(
            left=left, untrimmed=gone - self._trimmed, present=present, since_s=since_s, again=self._again
        )
        match relief:
            case Relief.COLLECT:
                self._again = bool(left) and not present
                give_back(names=not present)
                self._collected, self._trimmed, self._collected_at_s = gone, gone, now_s
            case Relief.TRIM:
                trim()
                self._trimmed = gone
            case Relief.NONE:
                pass
