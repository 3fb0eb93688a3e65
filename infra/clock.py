"""The two clocks: one to say when, one to say how long.

Wall time goes into events and may step; durations and deadlines come from the monotonic clock, which never runs
backwards. Decisions read neither: they are handed `now_us` or `now_s` as values.
"""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """Where a shell takes its time from."""

    def now_us(self) -> int:
        """Wall clock, microseconds since 1970."""
        ...

    def monotonic_s(self) -> float:
        """Seconds since some moment, never running backwards; only differences mean anything."""
        ...


class SystemClock:
    """The clocks of this machine."""

    __slots__ = ()

    def now_us(self) -> int:
        """Wall clock, microseconds since 1970."""
        return time.time_ns() // 1_000

    def monotonic_s(self) -> float:
        """Seconds since some moment; the same clock as asyncio's event loops use."""
        return time.monotonic()
