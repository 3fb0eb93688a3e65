"""A turn's place: among those that the worker runs at once, and at the target that it was given at the start.

Whoever holds it gives it back exactly once, whatever becomes of the task that runs the turn: a task that is cancelled
before its first step runs no `finally`, so the place is given back when the task is *done*, not by the task.
"""

from __future__ import annotations

import asyncio

from processors.target_pool import Call, TargetPool

__all__ = ["TurnPlace"]


class TurnPlace:
    """One turn's place; not taken yet."""

    def __init__(self, capacity: asyncio.Semaphore, pool: TargetPool, call: Call | None = None) -> None:
        self.capacity = capacity
        self.pool = pool
        self.call = call
        """Given back with the place, unless the turn has finished it by then."""
        self.taken = False

    async def take(self) -> None:
        """Wait for room among the running turns. Cancellation: nothing is taken."""
        await self.capacity.acquire()
        self.taken = True

    def give_back(self) -> None:
        """Give everything back; a second time changes nothing."""
        if self.taken:
            self.taken = False
            self.capacity.release()
        if self.call is not None:
            self.pool.give_back(self.call)
            self.call = None
