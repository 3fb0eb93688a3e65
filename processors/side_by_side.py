"""Two pieces of work at once, of which both are waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["both"]

First = TypeVar("First")
Second = TypeVar("Second")


async def both(first: Coroutine[Any, Any, First], second: Coroutine[Any, Any, Second]) -> tuple[First, Second]:
    """Run both and return both results; where one fails, its error is raised after the other has ended.

    A task group would wrap the error in a group, which every caller would have to unwrap again.
    Cancellation: cancels both.
    """
    one, other = await asyncio.gather(first, second, return_exceptions=True)
    for outcome in (one, other):
        if isinstance(outcome, BaseException):
            raise outcome
    return one, other
