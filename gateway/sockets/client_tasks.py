"""What runs for one client beside the reading of its socket: owned by the connection, ended with it.

As a task group of asyncio, but without one's half kilobyte in each idle connection; and what fails is told at once, so
that the connection can be closed with a word.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import structlog

__all__ = ["ClientTasks", "TaskOwner"]


log = structlog.get_logger(__name__)


class TaskOwner(Protocol):
    """The one that sees to it that a task ends, and that its failure is heard of."""

    def create_task(self, coro: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run it."""


class ClientTasks:
    """The tasks of one connection. `end` must follow."""

    __slots__ = ("_on_failed", "running")

    def __init__(self, on_failed: Callable[[BaseException], None]) -> None:
        self._on_failed = on_failed
        """Told what a task has failed with."""
        self.running: set[asyncio.Task[None]] | None = None

    def create_task(self, coro: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run it until it is done or the connection ends."""
        task = asyncio.get_running_loop().create_task(coro)
        if self.running is None:
            self.running = set()
        self.running.add(task)
        task.add_done_callback(self.ended)
        return task

    def ended(self, task: asyncio.Task[None]) -> None:
        if self.running is not None:
            self.running.discard(task)
            if not self.running:
                self.running = None
        if not task.cancelled():
            error = task.exception()
            if error is not None:
                self._on_failed(error)

    async def end(self) -> None:
        """Cancel what still runs, and wait for it.

        Cancellation: everything was cancelled; not all of it was waited for.
        """
        while self.running:
            running = list(self.running)
            for task in running:
                task.cancel()
            await asyncio.wait(running)
            await asyncio.sleep(0)  # those that were told of the end take themselves out
        self._on_failed = unheard  # lets go of the connection, which so goes without the collector


def unheard(error: BaseException) -> None:
    """What failed after its connection had ended."""
    log.error("late_task_failed", exc_info=error)
