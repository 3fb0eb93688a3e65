"""Blocks of Native for a client's version: whatever the types, each byte is put where its column's values begin."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.clickhouse.decisions.native_blocks import BLOCK_HEAD, UnknownLength, with_protocol_version

__all__: list[str] = []

OLD, NEW = 54_405, 54_483


@dataclass(frozen=True)
class Values:
    """Some values of a type, as the engine writes them."""

    type_name: str
    prefix: bytes
    body: bytes


def number(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + number(value >> 7)


def text(value: bytes) -> bytes:
    return number(len(value)) + value


def word(value: int) -> bytes:
    return value.to_bytes(8, "little")


@st.composite
def values(draw: st.DrawFn, count: int, depth: int = 2) -> Values:
    kinds = ["UInt8", "DateTime64(3, 'a,(')", "Enum8('),`' = 1)", "FixedString(5)", "Decimal(20, 2)", "String"]
    kind = draw(st.sampled_from([*kinds, "Array", "Tuple", "Nullable", "LowCardinality"] if depth else kinds))
    sizes = {kinds[0]: 1, kinds[1]: 8, kinds[2]: 1, kinds[3]: 5, kinds[4]: 16}
    if kind in sizes:
        return Values(kind, b"", draw(st.binary(min_size=sizes[kind] * count, max_size=sizes[kind] * count)))
    if kind == "String":
        return Values(kind, b"", b"".join(text(draw(st.binary(max_size=200))) for _ in range(count)))
    if kind == "Array":
        lengths = draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))
        inner = draw(values(sum(lengths), depth - 1))
        ends = b"".join(word(sum(lengths[: place + 1])) for place in range(count))
        return Values(f"Array({inner.type_name})", inner.prefix, ends + inner.body)
    if kind == "Tuple":
        parts = [draw(values(count, depth - 1)) for _ in range(draw(st.integers(1, 3)))]
        named = draw(st.sampled_from(["", "a ", "`b, (\\`` "]))
        inside = ", ".join(named + part.type_name for part in parts)
        prefix, body = (b"".join(each) for each in zip(*((part.prefix, part.body) for part in parts), strict=True))
        return Values(f"Tuple({inside})", prefix, body)
    if kind == "Nullable":
        inner = draw(values(count, 0))
        return Values(f"Nullable({inner.type_name})", b"", bytes(count) + inner.body)
    keys = draw(st.lists(st.binary(max_size=9), min_size=1, max_size=300, unique=True))
    width = 1 if len(keys) < 256 else 2
    places = b"".join(draw(st.integers(0, len(keys) - 1)).to_bytes(width, "little") for _ in range(count))
    body = word(width - 1 | 0x600) + word(len(keys)) + b"".join(map(text, keys)) + word(count) + places
    name = draw(st.sampled_from(["LowCardinality(String)", "LowCardinality(Nullable(String))"]))
    return Values(name, word(1), body if count else b"")


@st.composite
def blocks(draw: st.DrawFn) -> tuple[bytes, bytes, bytes]:
    """Blocks as the engine writes them, as version 54405 has them, and as 54483."""
    plain, old, new = b"", b"", b""
    for _ in range(draw(st.integers(0, 3))):
        rows = draw(st.integers(0, 4))
        columns = [draw(values(rows)) for _ in range(draw(st.integers(1, 4)))]
        head = number(len(columns)) + number(rows)
        names = [text(b"n" * draw(st.integers(0, 200))) + text(column.type_name.encode()) for column in columns]
        bodies = [column.prefix + column.body if rows else b"" for column in columns]
        block = head + b"".join(name + body for name, body in zip(names, bodies, strict=True))
        plain += block
        old += BLOCK_HEAD + block
        new += BLOCK_HEAD + head + b"".join(name + b"\0" + body for name, body in zip(names, bodies, strict=True))
    return plain, old, new


@given(blocks())
def test_each_version_has_its_bytes(made: tuple[bytes, bytes, bytes]) -> None:
    """None for a client that names no version, heads for an old one, a byte for each column since 54454."""
    plain, old, new = made

    assert with_protocol_version(plain, 0) == plain
    assert with_protocol_version(plain, OLD) == old
    assert with_protocol_version(plain, NEW) == new


@given(blocks(), st.integers(1, 30))
def test_what_is_cut_short_is_never_passed_on(made: tuple[bytes, bytes, bytes], cut: int) -> None:
    """Blocks end where they say, or it is an error, or a smaller count of blocks."""
    plain = made[0]
    try:
        found = with_protocol_version(plain[:-cut], NEW)
    except (IndexError, UnknownLength, UnicodeDecodeError):
        return
    assert made[2].startswith(found)


def test_types_whose_length_only_the_engine_knows() -> None:
    """The last column ends with its block; before another one it is an error, unless nothing is put in behind it."""
    one = number(1) + number(1) + text(b"a") + text(b"Dynamic") + b"whatever"
    two = number(2) + one[1:] + text(b"b") + text(b"UInt8") + b"1"

    assert with_protocol_version(one, NEW) == BLOCK_HEAD + one[:-8] + b"\0whatever"
    assert with_protocol_version(two, OLD) == BLOCK_HEAD + two
    with pytest.raises(UnknownLength, match="Dynamic"):
        with_protocol_version(two, NEW)
