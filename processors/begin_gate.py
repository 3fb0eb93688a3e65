"""Holds the beginning of attempts back while it is not known who will own the partition."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["BeginGate"]


class BeginGate:
    """Open: attempts may begin. Closing waits for those that are just beginning."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.opened.set()
        self.empty = asyncio.Event()
        self.empty.set()
        self.inside = 0

    @asynccontextmanager
    async def beginning(self) -> AsyncIterator[None]:
        """Pass the gate, as soon as it is open, and stay inside for the length of the block."""
        await self.opened.wait()
        self.inside += 1
        self.empty.clear()
        try:
            yield
        finally:
            self.inside -= 1
            if not self.inside:
                self.empty.set()

    async def close(self) -> None:
        """Let nobody in any more, and wait until nobody is inside."""
        self.opened.clear()
        await self.empty.wait()

    def open(self) -> None:
        """Let everybody in."""
        self.opened.set()
