"""What was counted in the last minute, and when enough of it has gone.

Amounts are kept by whole seconds. One leaves 60 seconds after its second has ended, so no window of 60 seconds,
wherever it begins, ever holds more than was allowed; in return an amount counts for up to a second longer than a
minute. Not one entry per amount: a limit of 100,000 requests would need as many. At most 61 entries; each question is
answered from a running total. Time never goes back: an amount that comes with an older time counts in the newest
second.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

__all__ = ["KEPT_S", "SECOND_US", "RollingMinute"]

SECOND_US: Final = 1_000_000
KEPT_S: Final = 61
"""A second counts until this long after it began."""


class RollingMinute:
    """Amounts by second. Owned by one account."""

    __slots__ = ("_seconds", "total")

    def __init__(self, slots: Iterable[tuple[int, int]] = ()) -> None:
        self._seconds = deque([second, amount] for second, amount in slots)
        self.total = sum(amount for _, amount in self._seconds)

    def at(self, now_us: int) -> int:
        """What counts at this time."""
        oldest = now_us // SECOND_US - KEPT_S
        while self._seconds and self._seconds[0][0] <= oldest:
            self.total -= self._seconds.popleft()[1]
        return self.total

    def add(self, amount: int, at_us: int) -> None:
        """Count an amount (0 or more)."""
        if not amount:
            return
        second = at_us // SECOND_US
        if self._seconds and self._seconds[-1][0] >= second:
            self._seconds[-1][1] += amount
        else:
            self._seconds.append([second, amount])
        self.total += amount

    def undo(self, amount: int, at_us: int) -> None:
        """Take back what was added at this time, if it still counts."""
        second = at_us // SECOND_US
        for slot in self._seconds:
            if slot[0] == second:
                taken = min(amount, slot[1])
                slot[1] -= taken
                self.total -= taken

    def falls_to(self, most: int) -> int:
        """When no more than `most` (0 or more) counts, in microseconds, if nothing is added."""
        left, gone_us = self.total, 0
        for second, amount in self._seconds:
            if left <= most:
                break
            left -= amount
            gone_us = (second + KEPT_S) * SECOND_US
        return gone_us

    def slots(self) -> tuple[tuple[int, int], ...]:
        """For a snapshot."""
        return tuple((second, amount) for second, amount in self._seconds if amount)
