"""Which offset may be committed while prompts of a partition are taken in side by side.

Prompts are handed out in offset order and finish in any order; the committed offset may pass only what is finished
without a hole. Invariants: `next_offset` never moves back, and no unfinished offset lies below it. Offsets may jump
where the log has no record (retention, aborted batches), but whoever hands them out has to make sure of that: what is
passed over is committed with the rest. Cost: amortised O(1) per offset.
"""

from __future__ import annotations

from collections import deque

__all__ = ["AckWindow"]


class AckWindow:
    """The offsets of one partition that were handed out, and which of them are finished."""

    __slots__ = ("due", "finished", "next_offset", "open")

    def __init__(self) -> None:
        self.open: deque[int] = deque()
        self.finished: set[int] = set()
        self.next_offset = -1
        """What a restart should read first; -1 while nothing is finished."""
        self.due: int | None = None
        """The offset that comes next if none is missing; None: it is not known yet where the group reads on."""

    def begin_at(self, offset: int) -> None:
        """The group reads on from here. Once something was handed out, that says it better."""
        if self.due is None:
            self.due = offset

    def hole_before(self, offset: int) -> int | None:
        """The first of the offsets that should have come before this one; None: it is the one that is due."""
        return self.due if self.due is not None and self.due < offset else None

    def hand_out(self, offset: int) -> bool:
        """Note that the work on `offset` begins. False: it was handed out before, so nothing is to be done."""
        if offset < self.next_offset or (self.open and offset <= self.open[-1]):
            return False
        self.open.append(offset)
        self.due = offset + 1
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
