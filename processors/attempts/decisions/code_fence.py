"""Whether a stream of Markdown is inside a fenced block of code.

Code and data in a fence may repeat and may look like noise: the watchdogs are milder there. A fence is a line that
begins, after at most seven spaces, with three backticks or tildes; each one toggles. That is less than CommonMark
asks, on purpose: a fence read wrongly makes the watchdogs milder for the rest of the answer, never stricter than they
are for prose.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["CodeFence"]

FENCE: Final = re.compile(r"^[ \t]{0,7}(?:```|~~~)", re.MULTILINE)
FENCE_CHARS_MAX: Final = 10
NO_FENCE: Final = "x"
"""Stands for the beginning of a line that is no fence, or whose fence is counted."""


class CodeFence:
    """Fed with the text in order, in pieces of any length."""

    __slots__ = ("_head", "is_open")

    def __init__(self) -> None:
        self.is_open = False
        self._head = ""
        """How the current line begins, as long as it may still become a fence."""

    def add(self, text: str) -> bool:
        """Whether any of this text lies in a fence (the fence itself counts)."""
        read = self._head + text
        fences = len(FENCE.findall(read)) if "```" in read or "~~~" in read else 0
        touched = self.is_open or fences > 0
        self.is_open ^= fences % 2 == 1
        line = read[read.rfind("\n") + 1 :]
        self._head = line if len(line) < FENCE_CHARS_MAX and not FENCE.match(line) else NO_FENCE
        return touched
