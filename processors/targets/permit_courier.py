"""Carries words about permits to the partitions of other workers, in order.

What can't be delivered is dropped: asks are said again, grants are said again when asked again, and a lease ends on its
own. So the courier needs no retries, and its queue may be short.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import structlog

from processors.writing.log_appender import WEATHER
from schemas.permits import PermitCommand

__all__ = ["PermitCourier", "SendPermit"]

log = structlog.get_logger(__name__)

SendPermit: TypeAlias = Callable[[int, PermitCommand], Awaitable[object]]
"""Appends a word to a partition of the prompts topic. Raises AppendFailed."""

QUEUE_MAX: Final = 4_096
"""Words waiting to be sent, a few hundred bytes each; the oldest are dropped beyond it."""


class PermitCourier:
    """Owns the one task that sends; it ends when nothing is left to be sent."""

    def __init__(self, send: SendPermit) -> None:
        self.send = send
        self.queue: deque[tuple[int, PermitCommand]] = deque(maxlen=QUEUE_MAX)
        self.task: asyncio.Task[None] | None = None
        self.closed = False

    def carry(self, partition: int, command: PermitCommand) -> None:
        """Send a word soon."""
        if self.closed:
            return
        self.queue.append((partition, command))
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self.deliver_all(), name="permit-courier")  # owned: see aclose

    async def aclose(self) -> None:
        """Send nothing more. Cancellation: the word under way may or may not arrive."""
        self.closed = True
        self.queue.clear()
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    async def deliver_all(self) -> None:
        while self.queue:
            partition, command = self.queue.popleft()
            try:
                await self.send(partition, command)
            except WEATHER as error:
                log.warning("permit_word_lost", word=type(command).__name__, partition=partition, reason=str(error))
