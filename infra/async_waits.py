"""Waits that many make: until tasks have ended, for an event but no longer than so long, and until work is done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from infra.decisions.backoff import Backoff

__all__ = ["done_at_last", "end_tasks", "set_within"]

Done = TypeVar("Done")
Failure = TypeVar("Failure", bound=Exception)


def untold(_: Exception, __: float) -> None:
    """For failures that nobody need hear of."""


async def done_at_last(
    work: Callable[[], Awaitable[Done]],
    backoff: Backoff,
    passing: type[Failure] | tuple[type[Failure], ...],
    on_failed: Callable[[Failure, float], object] = untold,
) -> Done:
    """Do work until it does not fail, with pauses. `passing`: failures after which it may be done again.

    `on_failed` hears of each of these and how long the pause is; what it raises is the end. Raises what else the work
    raises, and the last try's failure. Cancellation: as the work's; there may have been a try.
    """
    failures = 0
    while True:
        try:
            return await work()
        except passing as error:
            failures += 1
            if failures >= backoff.tries_max:
                raise
            pause_s = backoff.pause_s(failures)
            on_failed(error, pause_s)
        await asyncio.sleep(pause_s)


async def end_tasks(*tasks: asyncio.Future[Any] | None) -> None:
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
