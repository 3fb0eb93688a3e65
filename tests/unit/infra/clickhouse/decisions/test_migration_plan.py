from __future__ import annotations

from infra.clickhouse.decisions.migration_plan import (
    AppliedMigration,
    Conflict,
    Due,
    Migration,
    plan_migrations,
    split_statements,
)
from infra.clickhouse.migrate import known_migrations

__all__: list[str] = []

ONE, TWO, THREE = (Migration(number, f"000{number}_x.sql", f"SELECT {number};\n") for number in (1, 2, 3))


def memory(*migrations: Migration) -> dict[int, AppliedMigration]:
    return {each.number: AppliedMigration(each.name, each.checksum) for each in migrations}


def test_empty_database_gets_everything_in_order() -> None:
    """All are due, lowest number first."""
    assert plan_migrations((TWO, ONE), {}) == Due((ONE, TWO))


def test_up_to_date_database_gets_nothing() -> None:
    """Nothing is due."""
    assert plan_migrations((ONE, TWO), memory(ONE, TWO)) == Due(())


def test_changed_file_is_a_conflict() -> None:
    """The sentence names the file."""
    verdict = plan_migrations((Migration(1, ONE.name, "SELECT 9;\n"),), memory(ONE))

    assert isinstance(verdict, Conflict)
    assert ONE.name in verdict.problem


def test_database_of_a_newer_version_is_a_conflict() -> None:
    """It says what it does not know."""
    verdict = plan_migrations((ONE,), memory(ONE, TWO))

    assert isinstance(verdict, Conflict)
    assert "newer version" in verdict.problem


def test_late_lower_number_is_a_conflict() -> None:
    """A file numbered below an applied one would run in another order elsewhere."""
    assert isinstance(plan_migrations((ONE, TWO, THREE), memory(ONE, THREE)), Conflict)


def test_statements_end_with_a_semicolon_at_a_line_end() -> None:
    """Comment lines go, semicolons within a line stay."""
    text = "-- first\nSELECT ';' AS a;\n\nSELECT\n  2\n;\n-- last\n"

    assert split_statements(text) == ["SELECT ';' AS a", "SELECT\n  2"]
    assert split_statements("") == []
    assert split_statements("SELECT 3;") == ["SELECT 3"]


def test_shipped_files_are_numbered_without_a_gap() -> None:
    """0001, 0002, …"""
    numbers = [migration.number for migration in known_migrations()]

    assert numbers == list(range(1, len(numbers) + 1))
