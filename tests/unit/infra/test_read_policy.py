from __future__ import annotations

import pytest

from infra.clickhouse.decisions.read_policy import Allowed, Refused, format_of, judge

__all__: list[str] = []


@pytest.mark.parametrize(
    "canonical",
    [
        "SELECT 1",
        "WITH 1 AS x SELECT x",
        "SELECT 'INTO OUTFILE ; file(\\'x\\')' AS s",
        "SELECT `a b` FROM t FORMAT JSON SETTINGS max_threads = 1",
        "SELECT 1 UNION ALL SELECT 2",
        "SELECT profile, files FROM t",
    ],
)
def test_queries_are_allowed_and_stream(canonical: str) -> None:
    """What stands in strings, and names that only begin like a forbidden one, do no harm."""
    assert judge(canonical) == Allowed(streams=True)


@pytest.mark.parametrize("canonical", ["SHOW TABLES", "DESCRIBE TABLE t", "EXISTS TABLE t", "EXPLAIN SELECT 1"])
def test_looking_around_is_allowed(canonical: str) -> None:
    """Statements about the schema run, without streaming."""
    assert judge(canonical) == Allowed(streams=False)


@pytest.mark.parametrize(
    "canonical",
    [
        "",
        "INSERT INTO t SELECT 1",
        "DROP TABLE t",
        "SET readonly = 0",
        "KILL QUERY WHERE 1 ASYNC",
        "SELECT file('/etc/passwd')",
        "SELECT * APPLY file FROM t",
        "SELECT `File`('x')",
        "SELECT * FROM PYTHON(x)",
        "SELECT * FROM executable('x', 'TSV', 'a Int8')",
        "SELECT 1 INTO OUTFILE 'x'",
        "SELECT 1 into outfile 'x'",
        "SELECT 1 PARALLEL WITH DROP TABLE t",
        "EXPLAIN INSERT INTO t SELECT 1",
        "EXPLAIN AST DROP TABLE t",
        "SELECT 1; SELECT 2",
        "SELECT 'not closed",
        "SELECT `not closed",
    ],
)
def test_everything_else_is_refused(canonical: str) -> None:
    """Each with a reason."""
    verdict = judge(canonical)

    assert isinstance(verdict, Refused)
    assert verdict.reason


def test_format_is_the_statements_own_else_the_default() -> None:
    """The last FORMAT word decides; one in a string does not."""
    assert format_of("SELECT 1 FORMAT JSON", "TSV") == "JSON"
    assert format_of("SELECT 1 FORMAT JSON SETTINGS max_threads = 1", "TSV") == "JSON"
    assert format_of("SELECT 'x FORMAT JSON'", "TSV") == "TSV"
