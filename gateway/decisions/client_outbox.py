"""How many bytes one connection may owe its client: byte accounting of what is unsent.

Unsent bytes are those waiting in our queue plus those the socket has taken but not yet given to the kernel. An offer
that would lift them above `connection_bytes_max` evicts the client: it comes back with a cursor and is served from
the log. A lone message is always taken, however large, or a client could never get past it; so the bound is
max(connection_bytes_max, largest message), and no message is larger than a record.

Two marks with room between them (hysteresis) part FLOWING from HELD: a held connection is written to only as its
socket drains, and a replay waits until it flows again. The ladder's further steps will hang on the same marks.

Accounting only: the bytes themselves stay with the connection. Cost per offer: three additions and a look-up.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final, TypeAlias

__all__ = [
    "TRANSITIONS",
    "ClientOutbox",
    "Evict",
    "Held",
    "OutboxDecision",
    "OutboxEvent",
    "OutboxLimits",
    "OutboxState",
    "Send",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxLimits:
    """Marks of unsent bytes."""

    connection_bytes_max: int = 131_072
    """More than this evicts."""
    high_bytes: int = 65_536
    """From here on the connection is held."""
    low_bytes: int = 16_384
    """Down to here a held connection flows again."""

    @classmethod
    def within(cls, connection_bytes_max: int) -> OutboxLimits:
        """Marks at a half and an eighth of the cap."""
        return cls(
            connection_bytes_max=connection_bytes_max,
            high_bytes=connection_bytes_max // 2,
            low_bytes=connection_bytes_max // 8,
        )


class OutboxState(enum.Enum):
    """What the connection's unsent bytes allow."""

    FLOWING = "flowing"
    HELD = "held"
    EVICTED = "evicted"


class OutboxEvent(enum.Enum):
    """A mark that was crossed."""

    HIGH_MARK = "high_mark"
    LOW_MARK = "low_mark"
    BYTE_CAP = "byte_cap"


TRANSITIONS: Final[dict[tuple[OutboxState, OutboxEvent], OutboxState]] = {
    (OutboxState.FLOWING, OutboxEvent.HIGH_MARK): OutboxState.HELD,
    (OutboxState.FLOWING, OutboxEvent.BYTE_CAP): OutboxState.EVICTED,
    (OutboxState.HELD, OutboxEvent.LOW_MARK): OutboxState.FLOWING,
    (OutboxState.HELD, OutboxEvent.BYTE_CAP): OutboxState.EVICTED,
}


@dataclass(frozen=True, slots=True)
class Send:
    """Write it as soon as may be."""


@dataclass(frozen=True, slots=True)
class Held:
    """It waits until the socket has drained."""


@dataclass(frozen=True, slots=True)
class Evict:
    """The client is too slow: close with 4508 and the cursors of what was really written."""

    unsent_bytes: int


OutboxDecision: TypeAlias = Send | Held | Evict

SEND: Final = Send()
HELD: Final = Held()


class ClientOutbox:
    """The accounts of one connection."""

    __slots__ = ("limits", "queued_bytes", "socket_bytes", "state")

    def __init__(self, limits: OutboxLimits) -> None:
        self.limits = limits
        self.state = OutboxState.FLOWING
        self.queued_bytes = 0
        """Bytes of messages in our queue."""
        self.socket_bytes = 0
        """Bytes that the socket holds, as last observed."""

    @property
    def unsent_bytes(self) -> int:
        """Everything owed."""
        return self.queued_bytes + self.socket_bytes

    def offer(self, message_bytes: int) -> OutboxDecision:
        """May a message of this size be queued? Only an Evict leaves the accounts as they were."""
        unsent = self.queued_bytes + self.socket_bytes
        if self.state is OutboxState.EVICTED:
            return Evict(unsent)
        if unsent and unsent + message_bytes > self.limits.connection_bytes_max:
            self.cross(OutboxEvent.BYTE_CAP)
            return Evict(unsent)
        self.queued_bytes += message_bytes
        if unsent + message_bytes >= self.limits.high_bytes:
            self.cross(OutboxEvent.HIGH_MARK)
        return SEND if self.state is OutboxState.FLOWING else HELD

    def written(self, message_bytes: int, *, socket_bytes: int) -> None:
        """Messages of this many bytes left the queue; the socket now holds `socket_bytes`."""
        self.queued_bytes = max(0, self.queued_bytes - message_bytes)
        self.observe(socket_bytes)

    def observe(self, socket_bytes: int) -> None:
        """The socket now holds this many bytes."""
        self.socket_bytes = socket_bytes
        if self.unsent_bytes <= self.limits.low_bytes:
            self.cross(OutboxEvent.LOW_MARK)

    def cross(self, event: OutboxEvent) -> None:
        self.state = TRANSITIONS.get((self.state, event), self.state)
