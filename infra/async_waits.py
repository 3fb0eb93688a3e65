"""Two waits that many owners of tasks make: until tasks have ended, and for an event, but no longer than so long."""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["end_tasks", "set_within"]


async def end_tasks(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks and wait until they have ended, however they do; None is a task that was never begun.

    Cancellation: they are cancelled, and may not have ended.
    """
    begun = [task for task in tasks if task is not None]
    for task in begun:
        task.cancel()
    await asyncio.gather(*begun, return_exceptions=True)


async def set_within(event: asyncio.Event, limit_s: float | None) -> bool:
    """Wait until an event is set; False: it was not within `limit_s` seconds. None: however long it takes."""
    try:
        async with asyncio.timeout(limit_s):
            return await event.wait()
    except TimeoutError:
        return False
