"""A clock that stands still while this process does: a laptop asleep, a paused container, a loop that is held up.

Whoever waits for somebody else by the monotonic clock blames the other for time in which nobody here listened. So a
pulse is expected on the event loop every PULSE_S, and what it is late by, beyond LATE_S, counts as time in which the
process did not run. It is taken from the time that has passed, also before the late pulse comes: after a wake nothing
has to happen in any order. Of a standstill up to PULSE_S + LATE_S stays unnoticed.
"""

from __future__ import annotations

import asyncio
from typing import Final

from infra.clock import Clock

__all__ = ["AwakeClock"]

PULSE_S: Final = 0.5
LATE_S: Final = 0.25


class AwakeClock:
    """Both clocks of `infra.clock.Clock`; `start` in the loop whose standstills are meant, `stop` when done."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._stood_still_s = 0.0
        """Up to the newest pulse."""
        self._due_s: float | None = None
        """When the next pulse is expected; None: nobody counts."""
        self._pulse: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to count."""
        self._due_s = self._clock.monotonic_s() + PULSE_S
        self._pulse = asyncio.get_running_loop().call_later(PULSE_S, self.beat)

    def stop(self) -> None:
        """Count no more."""
        if self._pulse is not None:
            self._stood_still_s = self.stood_still_s()
            self._pulse.cancel()
            self._due_s = self._pulse = None

    def now_us(self) -> int:
        """Wall clock, microseconds since 1970; it goes on whatever happens."""
        return self._clock.now_us()

    def monotonic_s(self) -> float:
        """Seconds in which this process ran, since some moment."""
        return self._clock.monotonic_s() - self.stood_still_s()

    def stood_still_s(self) -> float:
        """Seconds in which it did not, since `start`."""
        late_s = 0.0 if self._due_s is None else self._clock.monotonic_s() - self._due_s
        return self._stood_still_s + max(0.0, late_s - LATE_S)

    def beat(self) -> None:
        self._stood_still_s = self.stood_still_s()
        self.start()
