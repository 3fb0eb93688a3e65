"""A text with its numbers taken out, and the newest numbers.

"Step 17: look again. Step 18: look again." repeats itself with a number that runs. With every run of digits replaced
by one mark the text is periodic; the numbers, set in columns of as many as one period holds, then tell a running
number in a sentence (one column moves, by the same step each time) from rows of data (several move, or unevenly) and
from a counting song (the same number returns one lower in the same verse).
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["MARK", "NumberMask"]

MARK: Final = "0"
NUMBER: Final = re.compile(r"\d+")
OPEN_DIGITS: Final = re.compile(r"\d+\Z")
DIGITS_KEPT_MAX: Final = 18
"""Of a longer number only its last digits are kept: they are what runs."""
NUMBERS_CHARS_MAX: Final = 512
"""What is kept of the newest numbers."""
COLUMNS_MAX: Final = 6
ROWS_NEEDED: Final = 8
"""Four were too few: in a log of 200 lines a random duration of one digit once stood still for four."""


class NumberMask:
    """Fed with the text in order, in pieces of any length; holds a number back until it is over."""

    __slots__ = ("held", "numbers")

    def __init__(self) -> None:
        self.held = ""
        self.numbers = ""
        """The newest ones, oldest first, a space after each: one string weighs a tenth of as many small ones."""

    def add(self, text: str) -> str:
        """The masked text that is certain by now."""
        read = self.held + text
        found = NUMBER.findall(read)
        if not found:
            self.held = ""
            return read
        if open_digits := OPEN_DIGITS.search(read):
            self.held = found.pop()[-DIGITS_KEPT_MAX:]
            read = read[: open_digits.start()]
        else:
            self.held = ""
        self.numbers = (self.numbers + "".join(number[-DIGITS_KEPT_MAX:] + " " for number in found))[
            -NUMBERS_CHARS_MAX:
        ]
        return NUMBER.sub(MARK, read)

    def runs(self, columns: int) -> bool:
        """Whether, set in this many columns, the newest numbers differ in one column only and by one same step."""
        wanted = columns * ROWS_NEEDED
        numbers = self.numbers.split(" ")[1:-1]  # the oldest may be cut
        if not 0 < columns <= COLUMNS_MAX or len(numbers) < wanted:
            return False
        newest = [int(number) for number in numbers[-wanted:]]
        moving = [column for at in range(columns) if len(set(column := newest[at::columns])) > 1]
        return (
            len(moving) == 1 and len({later - earlier for earlier, later in zip(*shifted(moving[0]), strict=True)}) == 1
        )


def shifted(column: list[int]) -> tuple[list[int], list[int]]:
    return column[:-1], column[1:]
