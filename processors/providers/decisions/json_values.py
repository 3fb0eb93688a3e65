"""JSON as others send it: read where it can be read, and asked for what a reader needs.

`decode_json` takes what the standard forbids and servers send all the same (`Infinity`, raw tabs, halves of
surrogate pairs, broken UTF-8, several values in a row), and is as fast as msgspec where nothing is wrong. The questions
below it answer for any value: what is not of the shape that was asked for is not there. None of them goes deeper than
DEPTH_MAX.
"""

from __future__ import annotations

import json
import math
import re
from typing import Final

import msgspec

__all__ = ["UNREADABLE", "Unreadable", "count_in", "decode_json", "number_in", "objects_in", "says_something"]

DEPTH_MAX: Final = 6
DIGITS_MAX: Final = 18
NUMBER_CHARS_MAX: Final = 32
COUNT_MAX: Final = 1_000_000_000
"""No call has more tokens; a larger number is no count."""


class Unreadable:
    """The bytes are no JSON."""


UNREADABLE: Final = Unreadable()
DECODER: Final = msgspec.json.Decoder()
BETWEEN: Final = re.compile(r"\s*(?:data:\s*)?(?:\[DONE\]\s*\Z)?")
"""What may stand between two values, or behind the last one."""


def decode_json(data: bytes) -> object:
    """The value, or UNREADABLE where it is cut or broken, or nested beyond what Python reads."""
    try:
        return DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return decode_leniently(data)


def decode_leniently(data: bytes) -> object:
    """The value, or a list of those that stand in a row."""
    text, values, at = data.decode("utf-8", "replace"), [], 0
    try:
        while (at := BETWEEN.match(text, at).end()) < len(text):  # type: ignore[union-attr]  # it matches anywhere
            value, at = LENIENT.raw_decode(text, at)
            values.append(value)
    except (ValueError, RecursionError):
        return UNREADABLE
    return (values[0] if len(values) == 1 else values) if values else UNREADABLE


def integer(digits: str) -> int | float:
    """Python refuses to read very long integers, and nobody needs them."""
    return int(digits) if len(digits) <= DIGITS_MAX else float(digits)


LENIENT: Final = json.JSONDecoder(strict=False, parse_int=integer)


def objects_in(value: object) -> list[dict[str, object]]:
    """The objects of a list; an object that stands alone is one of one."""
    if isinstance(value, dict):
        return [value]
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def number_in(value: object) -> float | None:
    """A number that is not negative, as one or as text."""
    if isinstance(value, str) and len(value) <= NUMBER_CHARS_MAX:
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < math.inf else None


def count_in(value: object) -> int | None:
    """A count: `11`, `11.0` or `"11"`."""
    number = number_in(value)
    return int(number) if number is not None and number.is_integer() and number <= COUNT_MAX else None


def says_something(value: object, depth: int = DEPTH_MAX) -> bool:
    """Whether there is more in it than `null`, `false`, nothing at all, and containers of these."""
    if isinstance(value, dict):
        return bool(depth) and any(says_something(item, depth - 1) for item in value.values())
    if isinstance(value, list):
        return bool(depth) and any(says_something(item, depth - 1) for item in value)
    return bool(value)
