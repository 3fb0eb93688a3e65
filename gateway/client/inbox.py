"""What a client was told and has not read yet: bounded in bytes, so that whoever stops reading stops the socket."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

__all__ = ["Inbox"]

Item = TypeVar("Item")


class Inbox(Generic[Item]):
    """A queue with one writer. The writer waits while `bytes_max` or more lie in it."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes = 0
        self._items: deque[tuple[Item, int]] = deque()
        self._waiting: set[asyncio.Future[None]] = set()
        self.fault: Exception | None = None

    async def put(self, item: Item, size: int) -> None:
        """Add what came, when there is room; dropped once the end was told. Cancellation: it is not added."""
        while self.is_full() and self.fault is None:
            await self.change()
        if self.fault is None:
            self._items.append((item, size))
            self.bytes += size
            self.changed()

    def end(self, fault: Exception) -> None:
        """Nothing more will come: `take` raises this once all has been read. What was told first stands."""
        self.fault = self.fault or fault
        self.changed()

    async def get(self) -> Item:
        """The next one. Raises what `end` was told. Cancellation: nothing is taken."""
        while not self._items:
            if self.fault is not None:
                raise self.fault
            await self.change()
        item, size = self._items.popleft()
        self.bytes -= size
        self.changed()
        return item

    def is_full(self) -> bool:
        """Whether whoever puts has to wait."""
        return self.bytes >= self.bytes_max

    def held(self) -> Iterator[Item]:
        """What was not read yet."""
        return (item for item, _ in self._items)

    def give_up(self, told: Iterable[Item]) -> None:
        """Nobody reads it: forget all of it, and tell this in its place."""
        self._items = deque((item, 0) for item in told)
        self.bytes = 0
        self.changed()

    async def change(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    def changed(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
