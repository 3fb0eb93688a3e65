"""How long a turn goes on looking for a target: time in the queue costs nothing, time without a usable target does.

A turn may wait for hours behind a batch at a model that answers one caller at a time: nothing is wrong then, and giving
up would lose an answer that is on its way. What is not worth waiting long for is a target that fails. So the deadline
of a search moves along while the turn waits in the queue (`is_queued`), up to `latest_s`, and stands still while every
target that it could use is broken. Invariants: the deadline never moves back, never beyond `latest_s`, and moves by
exactly the time in the queue before that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

__all__ = ["Patience"]


@dataclass(frozen=True, slots=True)
class Patience:
    """What is left of a search's time. Moments of one monotonic clock, in seconds."""

    deadline_s: float
    """When the search ends, if it is in the queue no longer."""
    latest_s: float
    """When it ends in any case."""
    looked_s: float
    is_queued: bool = True
    """Whether the time since `looked_s` is time in the queue."""

    def at(self, now_s: float) -> Self:
        """The patience at a moment, not before the one it was looked at last."""
        if now_s <= self.looked_s:
            return self
        moved_s = now_s - self.looked_s if self.is_queued else 0.0
        deadline_s = max(self.deadline_s, min(self.deadline_s + moved_s, self.latest_s))
        return replace(self, deadline_s=deadline_s, looked_s=now_s)

    def waiting(self, now_s: float, *, is_queued: bool) -> Self:
        """From this moment on the turn waits in the queue, or waits for a target that fails."""
        return replace(self.at(now_s), is_queued=is_queued)

    @property
    def over(self) -> bool:
        """Whether nothing is left of it at the moment it was looked at."""
        return self.looked_s >= self.deadline_s
