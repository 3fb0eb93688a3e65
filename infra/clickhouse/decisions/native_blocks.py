"""Blocks of the format Native as a client of some `client_protocol_version` expects them.

The embedded engine writes version 0 and can't be told another. A client that names a version waits for what versions
have added since: a head before each block, and after the type of each column a byte that says how its values are
written (0: as ever). clickhouse-go, which Grafana uses, always names one. So an answer is walked through, and those
bytes are put in. To find the next column, the length of this one must be known; it follows from its type, without a
value being decoded: a step for each string and array, none for each number.

Variant, Dynamic, JSON and states of aggregates tell their length to none but the engine. As an only or last column they
end with their block; before another one they are refused, and the client asks for text or another place.

Why not clickhouse-connect's reader, which is here already: it makes an object of each value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

__all__ = ["UnknownLength", "with_protocol_version"]

BLOCK_HEAD: Final = b"\x01\x00\x02\xff\xff\xff\xff\x00"
"""No totals that overflowed, no bucket."""
SERIALIZATION_FROM: Final = 54_454
"""The version since when each column says how it is written."""
AS_EVER: Final = b"\x00"
PREFIX_BYTES: Final = 8
SHARED_DICTIONARY: Final = 0x100
BYTES_OF: Final = {
    **dict.fromkeys(("Nothing", "Bool", "UInt8", "Int8", "Enum8"), 1),
    **dict.fromkeys(("UInt16", "Int16", "Enum16", "Date", "BFloat16"), 2),
    **dict.fromkeys(("UInt32", "Int32", "Float32", "Date32", "DateTime", "Time", "IPv4"), 4),
    **dict.fromkeys(("UInt64", "Int64", "Float64", "DateTime64", "Time64"), 8),
    **dict.fromkeys(("UInt128", "Int128", "UUID", "IPv6"), 16),
    **dict.fromkeys(("UInt256", "Int256"), 32),
}
DECIMALS: Final = ((9, 4), (18, 8), (38, 16), (76, 32))
"""Most digits, and the bytes of a value."""
ALIASES: Final = {
    "Point": "Tuple(Float64, Float64)",
    "Ring": "Array(Point)",
    "LineString": "Array(Point)",
    "MultiLineString": "Array(LineString)",
    "Polygon": "Array(Ring)",
    "MultiPolygon": "Array(Polygon)",
}
ATOM: Final = re.compile(r"'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`|[(),]|[^'`(),]+", re.DOTALL)
ELEMENT_NAME: Final = re.compile(r"(?:`(?:[^`\\]|\\.)*`|\w+) ", re.DOTALL)

Skip = Callable[[bytes, int, int], int]
"""From bytes, a place in them and a count of values: the place behind the values."""


class UnknownLength(ValueError):
    """Where a column of this type ends can't be told."""

    def __init__(self, type_name: str) -> None:
        super().__init__(type_name)
        self.type_name = type_name


@dataclass(frozen=True, slots=True)
class Layout:
    """How the values of a type lie in a block."""

    skip: Skip
    prefixes: int = 0
    """How many words of eight bytes come before the values."""


def with_protocol_version(blocks: bytes, version: int) -> bytes:
    """Whole blocks of version 0 as ones of this version. Raises UnknownLength, and IndexError where they are cut short.

    A type of unknown length must be the last column that needs a byte put in, of the last block.
    """
    if version <= 0:
        return blocks
    made: list[bytes | memoryview] = []
    kept, done = memoryview(blocks), 0
    for at, is_block in places(blocks, with_columns=version >= SERIALIZATION_FROM):
        made += (kept[done:at], BLOCK_HEAD if is_block else AS_EVER)
        done = at
    made.append(kept[done:])
    return b"".join(made)


def places(blocks: bytes, *, with_columns: bool) -> Iterator[tuple[int, bool]]:
    """Where a block begins (True), and where the values of a column do (False)."""
    at = 0
    while at < len(blocks):
        yield at, True
        columns, at = number_at(blocks, at)
        rows, at = number_at(blocks, at)
        for column in range(columns):
            at = strings_end(blocks, at, 1)
            size, begin = number_at(blocks, at)
            at = begin + size
            if at > len(blocks):
                raise IndexError("the type of a column is cut short")
            if with_columns:
                yield at, False
            if not rows:
                continue
            try:
                layout = layout_of(blocks[begin:at].decode())
            except UnknownLength:
                if with_columns and column < columns - 1:
                    raise
                return
            at = layout.skip(blocks, at + PREFIX_BYTES * layout.prefixes, rows)
    if at != len(blocks):
        raise IndexError("the last block is cut short")


def number_at(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def word_at(data: bytes, at: int) -> int:
    if at + 8 > len(data):
        raise IndexError(at)
    return int.from_bytes(data[at : at + 8], "little")


def layout_of(type_name: str) -> Layout:
    """Raises UnknownLength."""
    name, arguments = parts_of(type_name)
    size = fixed_size(name, arguments)
    if size is not None:
        return Layout(lambda _, at, count: at + size * count)
    match name:
        case "String":
            return Layout(strings_end)
        case "Array":
            return array_of(layout_of(arguments[0]))
        case "Map":
            return array_of(one_after_the_other([layout_of(each) for each in arguments]))
        case "Nested":
            return array_of(one_after_the_other([layout_of(unnamed(each)) for each in arguments]))
        case "Tuple" if arguments:
            return one_after_the_other([layout_of(unnamed(each)) for each in arguments])
        case "Nullable":
            return one_after_the_other([layout_of("UInt8"), layout_of(arguments[0])])
        case "LowCardinality":
            return low_cardinality(layout_of(without_null(arguments[0])))
        case "SimpleAggregateFunction":
            return layout_of(arguments[-1])
        case _ if name in ALIASES:
            return layout_of(ALIASES[name])
        case _:
            raise UnknownLength(type_name)


def parts_of(type_name: str) -> tuple[str, list[str]]:
    """The name and the arguments of a type."""
    name, _, rest = type_name.partition("(")
    parts, depth = [""], 0
    for atom in ATOM.findall(rest.removesuffix(")")):
        depth += (atom == "(") - (atom == ")")
        if atom == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += atom
    return name, [part.strip() for part in parts if part]


def fixed_size(name: str, arguments: list[str]) -> int | None:
    if name == "FixedString":
        return int(arguments[0])
    if name == "Decimal":
        return next(size for digits, size in DECIMALS if int(arguments[0]) <= digits)
    if name == "Tuple" and not arguments:
        return 1
    return 8 if name.startswith("Interval") else BYTES_OF.get(name)


def unnamed(element: str) -> str:
    name = ELEMENT_NAME.match(element)
    return element[name.end() :] if name else element


def without_null(type_name: str) -> str:
    """Of a dictionary; null is a place in it."""
    name, arguments = parts_of(type_name)
    return arguments[0] if name == "Nullable" else type_name


def strings_end(data: bytes, at: int, count: int) -> int:
    for _ in range(count):
        size = data[at]
        at += 1
        if size >= 0x80:
            size, at = number_at(data, at - 1)
        at += size
    return at


def array_of(element: Layout) -> Layout:
    """The ends of the arrays, then all elements."""

    def skip(data: bytes, at: int, count: int) -> int:
        if not count:
            return at
        at += 8 * count
        return element.skip(data, at, word_at(data, at - 8))

    return Layout(skip, element.prefixes)


def one_after_the_other(parts: list[Layout]) -> Layout:
    def skip(data: bytes, at: int, count: int) -> int:
        for part in parts:
            at = part.skip(data, at, count)
        return at

    return Layout(skip, sum(part.prefixes for part in parts))


def low_cardinality(keys: Layout) -> Layout:
    """What the places are like, the dictionary, the places in it."""

    def skip(data: bytes, at: int, count: int) -> int:
        if not count:
            return at
        kind = word_at(data, at)
        at = keys.skip(data, at + 16, word_at(data, at + 8))
        if kind & SHARED_DICTIONARY or word_at(data, at) != count:
            raise UnknownLength("LowCardinality")
        return at + 8 + (count << (kind & 0xFF))

    return Layout(skip, keys.prefixes + 1)
