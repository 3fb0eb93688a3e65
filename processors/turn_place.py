"""A turn's place at the target that it was given as it was taken in.

Whoever holds it gives it back exactly once, whatever becomes of the task that runs the turn: a task that is cancelled
before its first step runs no `finally`, so the place is given back when the task is *done*, not by the task.
"""

from __future__ import annotations

from processors.target_pool import Call, TargetPool

__all__ = ["TurnPlace"]


class TurnPlace:
    """One turn's place; without a call the turn has yet to stand in line for one."""

    def __init__(self, pool: TargetPool, call: Call | None = None) -> None:
        self.pool = pool
        self.call = call
        """Given back with the place, unless the turn has finished it by then."""

    def give_back(self) -> None:
        """Give everything back; a second time changes nothing."""
        if self.call is not None:
            self.pool.give_back(self.call)
            self.call = None
