"""Work on thousands of things a few at a time, spread evenly over a while, so that nothing else waits for it.

A record on its way to a client passes through several rounds of the event loop, and each lasts as long as whatever else
is done in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

__all__ = ["spread"]

Thing = TypeVar("Thing")


async def spread(things: Sequence[Thing], over_s: float, *, at_once: int) -> AsyncIterator[Sequence[Thing]]:
    """The things, so many at a time, the last ones at the end of `over_s`; behind time, without a pause.

    Cancellation: the things that were not given yet are left out.
    """
    clock_s = asyncio.get_running_loop().time
    began_s = clock_s()
    for first in range(0, len(things), at_once):
        yield things[first : first + at_once]
        due_s = began_s + over_s * (first + at_once) / len(things)
        await asyncio.sleep(max(0.0, min(due_s, began_s + over_s) - clock_s()))
