"""What the consumer of the prompts hands over, and the bounded line in which it waits to be taken in."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final

__all__ = ["DELIVERY_OVERHEAD_BYTES", "Delivery", "DeliveryQueue"]

DELIVERY_OVERHEAD_BYTES: Final = 300
"""What a command costs in the inbox besides its bytes."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One record of the prompts topic."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    received_at_us: int

    @property
    def size_bytes(self) -> int:
        """What it takes in memory."""
        return len(self.key or b"") + len(self.value or b"") + DELIVERY_OVERHEAD_BYTES


class DeliveryQueue:
    """The deliveries of one partition, in order. One consumer puts, one task takes."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.waiting: deque[Delivery] = deque()
        self.size_bytes = 0
        self.arrived = asyncio.Event()
        self.room = asyncio.Event()
        self.room.set()
        self.end: int | None = None
        """One past the newest record that the consumer has handed over; None: it has handed over none."""

    async def put(self, delivery: Delivery) -> None:
        """Add one; waits while there are too many bytes."""
        self.end = delivery.offset + 1
        self.waiting.append(delivery)
        self.size_bytes += delivery.size_bytes
        self.arrived.set()
        if self.size_bytes > self.bytes_max:
            self.room.clear()
            await self.room.wait()

    async def take(self) -> Delivery:
        """The next one, waited for. Cancellation: nothing is taken."""
        while not self.waiting:
            self.arrived.clear()
            await self.arrived.wait()
        delivery = self.waiting.popleft()
        self.size_bytes -= delivery.size_bytes
        self.room.set()
        return delivery

    def clear(self) -> None:
        """Forget what waits, and let the consumer go."""
        self.waiting.clear()
        self.size_bytes = 0
        self.room.set()

    def has_heard(self, end: int) -> bool:
        """Whether every command before this offset has been looked at. A consumer that brings nothing has nothing."""
        heard = self.waiting[0].offset if self.waiting else self.end
        return heard is None or heard >= end
