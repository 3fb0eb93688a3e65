"""How large a fault test is: seconds on every change, or the size of the reliability table with `make faults`.

The tests are the same; only numbers differ (TOKENWIRE_FAULTS=full). `docs/faults.md` says what each long form does.
"""

from __future__ import annotations

import os
from typing import Final, TypeVar

__all__ = ["FULL", "measured", "sized"]

Size = TypeVar("Size")

FULL: Final = os.environ.get("TOKENWIRE_FAULTS", "") == "full"


def sized(short: Size, full: Size) -> Size:
    """The short value, or the full one under `make faults`."""
    return full if FULL else short


def measured(row: str, words: str) -> None:
    """Print what a row's test has seen; `make faults` shows it, and docs/faults.md keeps it."""
    print(f"\n{row}: {words}")  # noqa: T201  # what it is for
