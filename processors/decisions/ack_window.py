"""Which offset may be committed while prompts of a partition are taken in side by side.

Prompts are handed out in offset order and finish in any order; the committed offset may pass only what is finished
without a hole. Invariants: `next_offset` never moves back, and no unfinished offset lies below it. Offsets may jump
(compaction, aborted batches): what was never handed out can't be unfinished. Cost: amortised O(1) per offset.
"""

from __future__ import annotations

from collections import deque

__all__ = ["AckWindow"]


class AckWindow:
    """The offsets of one partition that were handed out, and which of them are finished."""

    __slots__ = ("finished", "next_offset", "open")

    def __init__(self) -> None:
        self.open: deque[int] = deque()
        self.finished: set[int] = set()
        self.next_offset = -1
        """What a restart should read first; -1 while nothing is finished."""

    def hand_out(self, offset: int) -> bool:
        """Note that the work on `offset` begins. False: it was handed out before, so nothing is to be done."""
        if offset < self.next_offset or (self.open and offset <= self.open[-1]):
            return False
        self.open.append(offset)
        return True

    def finish(self, offset: int) -> bool:
        """Note that the work on `offset` is done; True where `next_offset` moved."""
        self.finished.add(offset)
        moved = False
        while self.open and self.open[0] in self.finished:
            done = self.open.popleft()
            self.finished.discard(done)
            self.next_offset = done + 1
            moved = True
        return moved
