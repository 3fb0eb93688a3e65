"""Bounds one wait after another with a single timer.

`asyncio.timeout_at` sets and cancels a timer for every wait, a tenth of what reading a token costs. Here the timer
stays: when it fires it looks whether the wait that is on now has outlasted its own moment, and otherwise sets
itself to that moment. A stream whose tokens flow sees it fire once in a deadline's length. A wait that has outlasted
its moment may be given a later one, without the task being disturbed. Everything else is as with
`asyncio.timeout_at`: the task that waits is cancelled, and the cancellation becomes a TimeoutError here unless somebody
else cancelled it too.

A timer that comes late says that this process did not run. What was waited for may have come meanwhile, and nobody
could read it: so the wait goes on once, for as long as the timer was late, a second at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Final

__all__ = ["WaitLimit"]

LATE_S: Final = 0.05
EXCUSED_S_MAX: Final = 1.0


class WaitLimit:
    """`with limit.until(moment_s): await …`, by one task, one wait at a time. `close` when done."""

    __slots__ = ("_cancelling", "_due_s", "_later", "_loop", "_task", "ends_s", "excused", "expired", "timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, later: Callable[[], float | None] = lambda: None) -> None:
        """`later` is asked when a wait has outlasted its moment: another moment to go on until, or None to end it."""
        self._loop = loop
        self._later = later
        self.timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None
        self.ends_s = 0.0
        self._due_s = 0.0
        """When the timer was to fire."""
        self._cancelling = 0
        self.expired = False
        self.excused = False

    def until(self, ends_s: float) -> WaitLimit:
        """The wait in the `with` block that follows ends at this moment of the loop's clock."""
        self.ends_s = ends_s
        return self

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a wait can be limited in a task only")
        self._task = task
        self._cancelling = task.cancelling()
        self.expired = self.excused = False
        if self.timer is None or self.ends_s < self.timer.when():
            self.set_timer()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if not self.expired or task is None:
            return
        if task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def close(self) -> None:
        """Take the timer away."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def set_timer(self) -> None:
        self.close()
        self._due_s = max(self.ends_s, self._loop.time())
        self.timer = self._loop.call_at(self.ends_s, self.look)

    def look(self) -> None:
        self.timer = None
        if self._task is None:
            return  # nobody waits; the next wait sets the timer
        now_s = self._loop.time()
        late_s = now_s - self._due_s
        if late_s > LATE_S and not self.excused and now_s >= self.ends_s:
            self.excused = True
            self.ends_s = now_s + min(late_s, EXCUSED_S_MAX)
        if now_s < self.ends_s:
            self.set_timer()
            return
        later_s = None
        try:
            later_s = self._later()
        finally:  # a wait whose end cannot be told ends
            if later_s is None:
                self.expired = True
                self._task.cancel()
            else:
                self.ends_s = later_s
                self.set_timer()
