"""Holds the beginning of attempts back while it is not known who will own the partition."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["BeginGate", "GateShut"]


class GateShut(Exception):
    """No attempt begins here any more: the partition is another worker's."""


class BeginGate:
    """Open: attempts may begin. Closing waits for those that are just beginning. Shut: none ever will."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.opened.set()
        self.empty = asyncio.Event()
        self.empty.set()
        self.inside = 0
        self.shut_for_good = False

    @asynccontextmanager
    async def beginning(self) -> AsyncIterator[None]:
        """Pass the gate, as soon as it is open, and stay inside for the length of the block. Raises GateShut."""
        await self.opened.wait()
        if self.shut_for_good:
            raise GateShut
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

    def shut(self) -> None:
        """Turn everybody away, those who wait included."""
        self.shut_for_good = True
        self.opened.set()
