"""How long a turn goes on looking for a target: time in line costs nothing, time without a usable target does.

A turn may wait for hours behind a batch at a model that answers one caller at a time: nothing is wrong then, and giving
up would lose an answer that is on its way. What is not worth waiting long for is a target that fails. So the deadline
of a search moves along while the turn stands in line (`in_line`), up to `latest_s`, and stands still while every target
that it could use is broken. Invariants: the deadline never moves back, never beyond `latest_s`, and moves by exactly
the time in line before that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

__all__ = ["Patience"]


@dataclass(frozen=True, slots=True)
class Patience:
    """What is left of a search's time. Moments of one monotonic clock, in seconds."""

    deadline_s: float
    """When the search ends, if it is in line no longer."""
    latest_s: float
    """When it ends in any case."""
    looked_s: float
    in_line: bool = True
    """Whether the time since `looked_s` is time in line."""

    def at(self, now_s: float) -> Self:
        """The patience at a moment, not before the one it was looked at last."""
        if now_s <= self.looked_s:
            return self
        moved_s = now_s - self.looked_s if self.in_line else 0.0
        deadline_s = max(self.deadline_s, min(self.deadline_s + moved_s, self.latest_s))
        return replace(self, deadline_s=deadline_s, looked_s=now_s)

    def waiting(self, now_s: float, *, in_line: bool) -> Self:
        """From this moment on the turn stands in line, or waits for a target that fails."""
        return replace(self.at(now_s), in_line=in_line)

    @property
    def over(self) -> bool:
        """Whether nothing is left of it at the moment it was looked at."""
        return self.looked_s >= self.deadline_s
