"""SIGTERM and SIGINT as an event, for processes that end by themselves once told to."""

from __future__ import annotations

import asyncio
import contextlib
import signal

__all__ = ["heed_signals"]


def heed_signals(stop: asyncio.Event) -> None:
    """Have both set `stop`, where this is the main thread."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(RuntimeError, ValueError):  # only the main thread hears signals
            loop.add_signal_handler(number, stop.set)
