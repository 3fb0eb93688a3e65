"""How an error reads on the wire."""

from __future__ import annotations

import pytest

from infra.clickhouse.decisions.error_texts import NAMES, error_text

__all__: list[str] = []


@pytest.mark.parametrize("code", NAMES)
def test_what_is_refused_before_the_engine_runs_it(code: int) -> None:
    """Number first and name last, as drivers look for them."""
    assert error_text(code, "no such thing") == f"Code: {code}. DB::Exception: no such thing ({NAMES[code]})\n"


def test_what_the_engine_has_named() -> None:
    """Its own name stays the last word, also where a line follows it, and is not told twice."""
    assert error_text(62, "Syntax error. (SYNTAX_ERROR)\n") == "Code: 62. DB::Exception: Syntax error. (SYNTAX_ERROR)\n"


def test_number_without_a_name_of_ours() -> None:
    """Nothing is made up for it."""
    assert error_text(999, "odd (Thing)") == "Code: 999. DB::Exception: odd (Thing)\n"
