"""The table of faults, the tests' names and docs/faults.md speak of the same rows.

A test that shows a row begins with it: `test_G3_…`, `test_r8_r9_…`, `test_r26_to_r30_…`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from tests.architecture.source_tree import ROOT, functions_of, source_files

__all__: list[str] = []

ROW: Final = re.compile(r"[RGS]\d{1,2}")
DEMANDED: Final = frozenset(
    [
        *(f"G{number}" for number in range(1, 14)),
        *(f"S{number}" for number in (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 13, 14, 15, 20, 21, 22, 40, 41, 42, 43)),
        *(f"R{number}" for number in (1, 2, 3, 7, 8, 9, 10, 11, 12, 15, 16, 17, 18, 23, 26, 27, 28, 29, 30, 31)),
    ]
)
"""Rows that have a test, and will not lose it."""


def rows_of(name: str) -> Iterator[str]:
    """The rows that a test's name begins with."""
    last = ""
    ranges = False
    for word in name.removeprefix("test_").upper().split("_"):
        if word == "TO" and last:
            ranges = True
        elif ROW.fullmatch(word) is None:
            return
        elif ranges:
            yield from (f"{word[0]}{number}" for number in range(int(last[1:]) + 1, int(word[1:]) + 1))
            last, ranges = word, False
        else:
            last = word
            yield word


def rows_tested() -> set[str]:
    """Rows that at least one test is named after."""
    return {
        row
        for source in source_files()
        if source.package == "tests"
        for function in functions_of(source)
        if function.name.startswith("test_")
        for row in rows_of(function.name)
    }


def rows_documented() -> list[str]:
    """The first cells of the table in docs/faults.md."""
    return re.findall(r"^\| ([RGS]\d{1,2}) \|", (ROOT / "docs" / "faults.md").read_text(), re.MULTILINE)


def test_names_are_read() -> None:
    """One row, several, a range; a name that only looks like one is none."""
    assert list(rows_of("test_G3_half_open")) == ["G3"]
    assert list(rows_of("test_r8_r9_slow_head")) == ["R8", "R9"]
    assert list(rows_of("test_r26_to_r28_with_kill")) == ["R26", "R27", "R28"]
    assert list(rows_of("test_to_s3_bucket")) == []


def test_every_row_that_is_promised_has_a_test() -> None:
    """A row loses its last test only together with its promise."""
    assert sorted(DEMANDED - rows_tested()) == []


def test_every_row_with_a_test_is_demanded_and_documented_once() -> None:
    """A new row is added in all three places."""
    documented = rows_documented()

    assert sorted(rows_tested() - DEMANDED) == []
    assert sorted(documented) == sorted(DEMANDED)
