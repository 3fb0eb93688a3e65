"""An event loop whose time jumps to the next timer: hours pass in milliseconds, in the same order every time.

A loop on which nothing is ready and nothing is due would wait for ever; here that raises `NothingLeft`, so a test
of code that hangs fails at once and says so. No I/O: whatever waits for a socket or a thread hangs for this loop.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

__all__ = ["LoopClock", "NothingLeft", "VirtualLoop", "run_virtual"]

Returned = TypeVar("Returned")

STARTED_US: Final = 1_750_000_000_000_000
MICROSECONDS_PER_SECOND: Final = 1_000_000


class NothingLeft(Exception):
    """Every task waits for another and no timer is running: the code under test hangs."""


class JumpingSelector(selectors.SelectSelector):
    """Never waits: where it should, the time is moved on instead."""

    def __init__(self) -> None:
        super().__init__()
        self.elapsed_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready now. Raises NothingLeft where nothing ever will be."""
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise NothingLeft("nothing is ready and no timer is running")
        self.elapsed_s += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop itself."""

    def __init__(self) -> None:
        self.jumping = JumpingSelector()
        super().__init__(self.jumping)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self.jumping.elapsed_s


class LoopClock:
    """Both clocks of `infra.clock.Clock`, from a virtual loop's time."""

    def __init__(self, loop: VirtualLoop, ahead_s: float = 0.0) -> None:
        self.loop = loop
        self.ahead_s = ahead_s
        """By how much its wall clock is fast, as that of a badly kept machine."""

    def now_us(self) -> int:
        """Wall clock, microseconds since 1970."""
        return STARTED_US + round((self.loop.time() + self.ahead_s) * MICROSECONDS_PER_SECOND)

    def monotonic_s(self) -> float:
        """Virtual seconds since the loop was made."""
        return self.loop.time()


def run_virtual(loop: VirtualLoop, work: Coroutine[Any, Any, Returned]) -> Returned:
    """Run to the end on virtual time, then close the loop. Raises NothingLeft where it hangs."""
    try:
        return loop.run_until_complete(work)
    finally:
        try:
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.wait(left))
        finally:
            loop.close()
