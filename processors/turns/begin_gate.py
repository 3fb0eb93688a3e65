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
        self._opened = asyncio.Event()
        self._opened.set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._inside = 0
        self._shut_for_good = False

    @asynccontextmanager
    async def beginning(self) -> AsyncIterator[None]:
        """Pass the gate, as soon as it is open, and stay inside for the length of the block. Raises GateShut."""
        await self._opened.wait()
        if self._shut_for_good:
            raise GateShut
        self._inside += 1
        self._empty.clear()
        try:
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                self._empty.set()

    async def close(self) -> None:
        """Let nobody in any more, and wait until nobody is inside."""
        self._opened.clear()
        await self._empty.wait()

    def open(self) -> None:
        """Let everybody in."""
        self._opened.set()

    def shut(self) -> None:
        """Turn everybody away, those who wait included."""
        self._shut_for_good = True
        self._opened.set()
