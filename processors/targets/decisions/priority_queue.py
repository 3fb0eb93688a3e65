"""Who is next in a queue of two classes: every interactive prompt before every batch one, in order of arrival within.

A position is a value that sorts: class, moment of arrival, number. So queues can be compared with each other (the
first of several queues is the least of their firsts), and somebody who began to wait elsewhere can be put in where its
wait began, not behind everybody who came meanwhile. Numbers tell apart what arrived in one instant.

Invariants: nobody is overtaken but by a better class, or by an earlier arrival; `before` counts exactly those that go
first. A batch prompt starts as soon as no interactive one waits: it is not starved for ever while interactive load
stays below capacity, and nothing more is promised. Cost: a binary search and the move of a list's tail; asking for
everybody's place is O(n log n), not O(n²).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import Final, NamedTuple

from schemas.prompts import Priority

__all__ = ["PriorityQueue", "Standing"]

RANKS: Final[dict[Priority, int]] = {"interactive": 0, "batch": 1}


class Standing(NamedTuple):
    """A position in the queue; the lesser goes first."""

    rank: int
    arrived_s: float
    number: int


class PriorityQueue:
    """Those who wait, in order."""

    __slots__ = ("_standings",)

    def __init__(self) -> None:
        self._standings: list[Standing] = []

    def __len__(self) -> int:
        return len(self._standings)

    def join(self, priority: Priority, arrived_s: float, number: int) -> Standing:
        """Join the queue; `number` is nobody else's."""
        standing = Standing(RANKS[priority], arrived_s, number)
        insort(self._standings, standing)
        return standing

    def leave(self, standing: Standing) -> bool:
        """Step out, from wherever in it; False: it did not stand there."""
        at = bisect_left(self._standings, standing)
        if at == len(self._standings) or self._standings[at] != standing:
            return False
        del self._standings[at]
        return True

    def before(self, standing: Standing) -> int:
        """How many go first."""
        return bisect_left(self._standings, standing)

    @property
    def first(self) -> Standing | None:
        """Who is next."""
        return self._standings[0] if self._standings else None
