"""Pieces of work at once, of which all are waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

__all__ = ["both", "every"]

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


async def every(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all of it; where something fails, its error is raised after everything has ended.

    Cancellation: cancels all.
    """
    for outcome in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome
