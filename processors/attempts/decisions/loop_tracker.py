"""The period of a text's tail, and how long it has lasted.

Fed with blocks of one size. A whole block that occurs earlier in the tail, d characters before its own place, means
that the last `block + d` characters have period d; the nearest such place gives the smallest period. From then on
one comparison per block tells whether the period goes on. When it breaks, the search starts anew: a period that was
only a passage of a longer one (a run of spaces in a repeated paragraph) is dropped at its first failure, and the
longer one is found as soon as its second round begins. One substring search per block that nothing explains: no
table of n-grams, no history beyond the longest period.
"""

from __future__ import annotations

__all__ = ["LoopTracker"]


class LoopTracker:
    """Follows one text. `period_chars` is 0 while its tail does not repeat."""

    __slots__ = ("_period_chars_max", "period_chars", "run_chars", "tail")

    def __init__(self, period_chars_max: int) -> None:
        self._period_chars_max = period_chars_max
        self.period_chars = 0
        self.run_chars = 0
        self.tail = ""

    def add(self, block: str) -> None:
        """Take the next block, which must not be empty."""
        text = self.tail + block
        length = len(text)
        if self.period_chars and text.endswith(block, 0, length - self.period_chars):
            self.run_chars += len(block)
        else:
            found_at = text.rfind(block, 0, length - 1)
            self.period_chars = 0 if found_at < 0 else length - len(block) - found_at
            self.run_chars = 0 if found_at < 0 else length - found_at
        self.tail = text[-self._period_chars_max :]

    @property
    def repeats(self) -> int:
        """How often the tail says its period, rounded down."""
        return self.run_chars // self.period_chars if self.period_chars else 0

    @property
    def period_text(self) -> str:
        """What is said over and over, beginning anywhere; empty while nothing is."""
        return self.tail[-self.period_chars :] if self.period_chars else ""
