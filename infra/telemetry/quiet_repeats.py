"""Libraries may say the same thing once in a while, not forty times a second.

While a broker is away each client reports every try. What a library says anew within REPEAT_S, by its template and
not by its arguments, is left out and counted; the next time it is said the count is told.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

__all__ = ["REPEAT_S", "QuietRepeats"]

REPEAT_S: Final = 5.0
REMEMBERED_MAX: Final = 512


class QuietRepeats(logging.Filter):
    """Lets our own events pass, and a library's message once in REPEAT_S."""

    def __init__(self, *, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._monotonic_s = monotonic_s
        self._said: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is shown."""
        if not isinstance(record.msg, str):  # an event of ours
            return True
        key, now_s = (record.name, record.levelno, record.msg), self._monotonic_s()
        said_s, left_out = self._said.get(key, (float("-inf"), 0))
        if now_s - said_s < REPEAT_S:
            self._said[key] = (said_s, left_out + 1)
            return False
        if len(self._said) >= REMEMBERED_MAX:
            self._said.clear()
        self._said[key] = (now_s, 0)
        if left_out:
            record.msg, record.args = f"{record.getMessage()} (and {left_out} more like it)", ()
        return True
