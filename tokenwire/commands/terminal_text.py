"""Words of models, users and foreign producers on a terminal: shown, never obeyed."""

from __future__ import annotations

import sys
from typing import Final, TextIO

__all__ = ["escaped", "printable"]

CONTROLS: Final = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
DIRECTIONS: Final = {
    code: f"\\u{code:04x}" for code in (0x61C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
"""Marks that turn the direction of writing: with them a line can be made to read as another."""
SHOWN_AS_ESCAPE: Final = CONTROLS | DIRECTIONS
WHOLE_LINE: Final = SHOWN_AS_ESCAPE | {9: "\\t", 10: "\\n"}


def printable(text: str, stream: TextIO | None = None) -> str:
    """A model's words cannot move the cursor or change the terminal; a file or pipe gets them as they are.

    `stream`: where they go; None = standard output.
    """
    return text.translate(SHOWN_AS_ESCAPE) if (stream or sys.stdout).isatty() else text


def escaped(text: str) -> str:
    """For a table's cell or a line of its own: without control characters and marks of direction, wherever it goes."""
    return text.translate(WHOLE_LINE)
