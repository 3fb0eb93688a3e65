"""One line on a terminal that says how things stand, rewritten in place; nothing where there is no terminal."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from typing import Final

import click

from tokenwire.commands.terminal_text import escaped

__all__ = ["StatusLine"]

REWRITTEN_EVERY_S: Final = 0.1
CLEAR: Final = "\r\x1b[K"


class StatusLine:
    """On standard error. Clear it before anything else is written, and at the end."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._live = sys.stderr.isatty()
        self._shown = False
        self._next_s = 0.0

    def show(self, text: Callable[[], str]) -> None:
        """Rewrite the line, at most every REWRITTEN_EVERY_S; `text` is asked for only when it is."""
        now_s = self._clock_s()
        if not self._live or now_s < self._next_s:
            return
        self._next_s = now_s + REWRITTEN_EVERY_S
        width = shutil.get_terminal_size().columns - 1
        click.echo(CLEAR + escaped(text())[:width], nl=False, err=True)
        self._shown = True

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            click.echo(CLEAR, nl=False, err=True)
            self._shown, self._next_s = False, 0.0
