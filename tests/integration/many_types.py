"""A column of each kind of type that an answer may hold, for clients that must find the end of each."""

from __future__ import annotations

from typing import Final

__all__ = ["COLUMNS", "many_types"]

COLUMNS: Final = {
    "n": "number",
    "text": "toString(number)",
    "long": "repeat('long ', 50)",
    "fixed": "toFixedString('abc', 3)",
    "numbers": "range(modulo(number, 50))",
    "nested": "[['a'], []]",
    "map": "map('k', number)",
    "maybe": "toNullable(number)",
    "nothing": "NULL",
    "no_elements": "tuple()",
    "tuple": "CAST((1, 'x'), 'Tuple(a UInt8, b String)')",
    "pair": "CAST((1, 'x'), 'Tuple(a UInt8, `b, (c` String)')",
    "point": "CAST((1, 2), 'Point')",
    "few": "toLowCardinality(toString(modulo(number, 7)))",
    "fewer": "CAST(['a', NULL], 'Array(LowCardinality(Nullable(String)))')",
    "none": "CAST([], 'Array(LowCardinality(String))')",
    "rows": "CAST([(1, 'y')], 'Nested(a UInt8, b String)')",
    "money": "toDecimal64(1, 2)",
    "fortune": "toDecimal256(1, 2)",
    "one_of": "CAST('a', 'Enum8(\\'a\\' = 1, \\'(,\\' = 2)')",
    "day": "toDate(1)",
    "second": "toDateTime(1)",
    "instant": "toDateTime64(1, 6, 'UTC')",
    "span": "toIntervalDay(1)",
    "yes": "true",
    "id": "toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0')",
    "address": "toIPv6('::1')",
    "large": "toUInt256(1)",
    "last": "'end'",
}


def many_types(rows: int, *, without: tuple[str, ...] = ()) -> str:
    """A query of so many rows, in its last column always `end`."""
    columns = ", ".join(f"{value} AS {name}" for name, value in COLUMNS.items() if name not in without)
    return f"SELECT {columns} FROM numbers({rows})"
