"""Which of ClickHouse's refusals of an insert are about what its rows hold.

A list of those, not of the others: an error that nobody has thought of (memory, disk, too many parts, a table that may
only be read, a missing column, a right that was taken away) is about the table or the server, and waiting costs nothing
but time, while a row that is given up is out of the tables. One of these codes is no proof either: a table that
somebody has changed refuses every row with them. So whoever gives a row up tries another one first.
"""

from __future__ import annotations

from typing import Final

__all__ = ["ROW_REFUSALS", "is_about_rows"]

ROW_REFUSALS: Final = {
    6: "CANNOT_PARSE_TEXT",
    27: "CANNOT_PARSE_INPUT_ASSERTION_FAILED",
    38: "CANNOT_PARSE_DATE",
    41: "CANNOT_PARSE_DATETIME",
    53: "TYPE_MISMATCH",
    69: "ARGUMENT_OUT_OF_BOUND",
    70: "CANNOT_CONVERT_TYPE",
    72: "CANNOT_PARSE_NUMBER",
    117: "INCORRECT_DATA",
    128: "TOO_LARGE_ARRAY_SIZE",
    131: "TOO_LARGE_STRING_SIZE",
    190: "SIZES_OF_ARRAYS_DONT_MATCH",
    321: "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE",
    349: "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN",
    407: "DECIMAL_OVERFLOW",
    469: "VIOLATED_CONSTRAINT",
}
"""ClickHouse's numbers and names of them."""


def is_about_rows(code: int) -> bool:
    """Whether an insert was refused for what its rows hold. 0: the code is not known."""
    return code in ROW_REFUSALS
