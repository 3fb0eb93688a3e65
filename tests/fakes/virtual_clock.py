"""A clock that moves only when a test says so."""

from __future__ import annotations

from typing import Final

__all__ = ["VirtualClock"]

MICROSECONDS_PER_SECOND: Final = 1_000_000


class VirtualClock:
    """Both clocks of `infra.clock.Clock`, moved by hand."""

    def __init__(self, *, now_us: int = 1_750_000_000_000_000, monotonic_s: float = 1_000.0) -> None:
        self.wall_us = now_us
        self.elapsed_s = monotonic_s

    def now_us(self) -> int:
        """Wall clock, microseconds since 1970."""
        return self.wall_us

    def monotonic_s(self) -> float:
        """Seconds since some moment."""
        return self.elapsed_s

    def advance(self, duration_s: float) -> None:
        """Let time pass on both clocks."""
        if duration_s < 0:
            raise ValueError("time passes forwards; step_wall moves the wall clock alone")
        self.elapsed_s += duration_s
        self.wall_us += round(duration_s * MICROSECONDS_PER_SECOND)

    def step_wall(self, step_s: float) -> None:
        """Set the wall clock forwards or back, as an operator or a time server does; the other clock stays."""
        self.wall_us += round(step_s * MICROSECONDS_PER_SECOND)
