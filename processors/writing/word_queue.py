"""Words that are sent soon and never waited for: to gateways, and between workers.

What can't be delivered is dropped, as is the oldest where more wait than `QUEUE_MAX`: each such word is said again, or
can be done without. So the queue needs no retries, and may be short.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from infra.async_waits import end_tasks

__all__ = ["WordQueue"]

Word = TypeVar("Word")

QUEUE_MAX: Final = 4_096
"""Words waiting to be sent, a few hundred bytes each; the oldest are dropped beyond it."""


class WordQueue(Generic[Word]):
    """Owns the one task that sends; it ends when nothing is left to be sent."""

    def __init__(self, send_all: Callable[[list[Word]], Awaitable[None]], *, name: str) -> None:
        """`send_all` sends what has gathered, in order; it raises nothing. `name`: the task's."""
        self._send_all = send_all
        self._name = name
        self.words: deque[Word] = deque(maxlen=QUEUE_MAX)
        self.task: asyncio.Task[None] | None = None
        self._closed = False

    def say(self, word: Word) -> None:
        """Send it soon."""
        if self._closed:
            return
        self.words.append(word)
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self.send_what_gathers(), name=self._name)  # owned: see aclose

    async def aclose(self) -> None:
        """Send nothing more. Cancellation: the words under way may or may not arrive."""
        self._closed = True
        self.words.clear()
        await end_tasks(self.task)

    async def send_what_gathers(self) -> None:
        while self.words:
            words = list(self.words)
            self.words.clear()
            await self._send_all(words)
