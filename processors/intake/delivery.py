"""What the consumer of the prompts hands over, and the bounded queue in which it waits to be taken in."""

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
        self._bytes_max = bytes_max
        self.waiting: deque[Delivery] = deque()
        self._size_bytes = 0
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._end: int | None = None
        """One past the newest record that the consumer has handed over; None: it has handed over none."""

    async def put(self, delivery: Delivery) -> None:
        """Add one; waits while there are too many bytes."""
        self._end = delivery.offset + 1
        self.waiting.append(delivery)
        self._size_bytes += delivery.size_bytes
        self._arrived.set()
        if self._size_bytes > self._bytes_max:
            self._room.clear()
            await self._room.wait()

    async def get(self) -> Delivery:
        """The next one, waited for. Cancellation: nothing is taken."""
        while not self.waiting:
            self._arrived.clear()
            await self._arrived.wait()
        delivery = self.waiting.popleft()
        self._size_bytes -= delivery.size_bytes
        self._room.set()
        return delivery

    def clear(self) -> None:
        """Forget what waits, and let the consumer go."""
        self.waiting.clear()
        self._size_bytes = 0
        self._room.set()

    def has_heard(self, end: int) -> bool:
        """Whether every command before this offset has been looked at. A consumer that brings nothing has nothing."""
        heard = self.waiting[0].offset if self.waiting else self._end
        return heard is None or heard >= end
