"""Words of models, users and foreign producers on a terminal: shown, never obeyed."""

from __future__ import annotations

import sys
from typing import Final

__all__ = ["escaped", "printable"]

SHOWN_AS_ESCAPE: Final = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
WHOLE_LINE: Final = SHOWN_AS_ESCAPE | {9: "\\t", 10: "\\n"}


def printable(text: str) -> str:
    """A model's words cannot move the cursor or change the terminal; a file or pipe gets them as they are."""
    return text.translate(SHOWN_AS_ESCAPE) if sys.stdout.isatty() else text


def escaped(text: str) -> str:
    """For a table's cell or a line of its own: without any control character, wherever it goes."""
    return text.translate(WHOLE_LINE)
