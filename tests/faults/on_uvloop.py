"""Tests on the loop that the gateway runs on: its transports, and how it accepts, are what is tried."""

from __future__ import annotations

import asyncio
import functools
import os
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

import uvloop

__all__ = ["WAIT_S", "on_uvloop", "open_files", "percentile", "until"]

WAIT_S: Final = 15.0
LOOK_EVERY_S: Final = 0.01


def on_uvloop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run the test on uvloop."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        uvloop.run(test(*arguments, **named))

    return run


async def until(condition: Callable[[], bool], limit_s: float = WAIT_S) -> float:
    """Wait for what nobody announces; the seconds it took."""
    begun_s = time.monotonic()
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110  # seen from outside, as an operator would
            await asyncio.sleep(LOOK_EVERY_S)
    return time.monotonic() - begun_s


def open_files(pid: int | None = None) -> int:
    """Files and sockets that a process (this one) has open."""
    return len(os.listdir(f"/proc/{pid or os.getpid()}/fd"))


def percentile(seen: list[float], share: float) -> float:
    """The smallest of them that so large a share does not exceed."""
    return sorted(seen)[min(len(seen) - 1, int(share * len(seen)))]
