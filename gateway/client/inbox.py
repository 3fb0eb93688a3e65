"""What a client was told and has not read yet: bounded in bytes, so that whoever stops reading stops the socket."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

__all__ = ["Inbox"]

Item = TypeVar("Item")


class Inbox(Generic[Item]):
    """A queue with one reader and one writer. The writer waits while `bytes_max` or more lie in it."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes = 0
        self.items: deque[tuple[Item, int]] = deque()
        self.changed = asyncio.Condition()
        self.fault: Exception | None = None

    async def put(self, item: Item, size: int) -> None:
        """Add what came, when there is room. Cancellation: it is not added."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.bytes < self.bytes_max)
            self.items.append((item, size))
            self.bytes += size
            self.changed.notify_all()

    async def end(self, fault: Exception) -> None:
        """Nothing more will come: `take` raises this once all has been read."""
        async with self.changed:
            self.fault = fault
            self.changed.notify_all()

    async def take(self) -> Item:
        """The next one. Raises what `end` was told. Cancellation: nothing is taken."""
        async with self.changed:
            await self.changed.wait_for(lambda: bool(self.items) or self.fault is not None)
            if not self.items:
                assert self.fault is not None
                raise self.fault
            item, size = self.items.popleft()
            self.bytes -= size
            self.changed.notify_all()
            return item
