"""Migrations on the real embedded engine: once, again, changed, newer, and after a crash half-way.

Covers: infra.clickhouse.connection, infra.clickhouse.errors.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from infra.clickhouse.connection import ClickHouseConnection
from infra.clickhouse.decisions.migration_plan import Migration
from infra.clickhouse.errors import ClickHouseRefused, MigrationConflict
from infra.clickhouse.migrate import known_migrations, migrate
from infra.settings import load_settings

__all__: list[str] = []

ONE = Migration(
    1, "0001_one.sql", "CREATE TABLE IF NOT EXISTS tokenwire.one (a UInt8) ENGINE = MergeTree ORDER BY a;\n"
)
TWO = Migration(
    2,
    "0002_two.sql",
    "CREATE TABLE IF NOT EXISTS tokenwire.two (a UInt8) ENGINE = MergeTree ORDER BY a;\n"
    "CREATE VIEW IF NOT EXISTS tokenwire.both AS SELECT a FROM tokenwire.one;\n",
)


@pytest_asyncio.fixture
async def connection(tmp_path: Path) -> AsyncIterator[ClickHouseConnection]:
    opened = ClickHouseConnection(load_settings({}, home=tmp_path))
    await opened.open()
    try:
        yield opened
    finally:
        await opened.close()


async def test_each_migration_is_applied_once(connection: ClickHouseConnection) -> None:
    """The first call applies, the second finds nothing due, a new file is applied alone."""
    assert await migrate(connection, (ONE,)) == ["0001_one.sql"]
    assert await migrate(connection, (ONE,)) == []
    assert await migrate(connection, (ONE, TWO)) == ["0002_two.sql"]
    assert await connection.query("SELECT count() FROM tokenwire.both") == [(0,)]


async def test_changed_and_newer_migrations_are_refused(connection: ClickHouseConnection) -> None:
    """A changed applied file and a database newer than the code are errors that name the file."""
    await migrate(connection, (ONE, TWO))

    with pytest.raises(MigrationConflict, match=r"0001_one\.sql was changed"):
        await migrate(connection, (Migration(1, ONE.name, ONE.sql + "-- changed\n"), TWO))
    with pytest.raises(MigrationConflict, match=r"newer version of Tokenwire \(0002_two\.sql\)"):
        await migrate(connection, (ONE,))


async def test_half_applied_migration_is_completed(connection: ClickHouseConnection) -> None:
    """A crash after the first statement leaves nothing that stops the next attempt."""
    broken = Migration(2, TWO.name, TWO.sql + "CREATE NONSENSE;\n")
    with pytest.raises(ClickHouseRefused):
        await migrate(connection, (ONE, broken))

    assert await migrate(connection, (ONE, TWO)) == ["0002_two.sql"]


async def test_shipped_migrations_apply_and_give_the_view(connection: ClickHouseConnection) -> None:
    """The files of this version work on the engine they are shipped with."""
    assert await migrate(connection) == [migration.name for migration in known_migrations()]
    assert await connection.query("SELECT count() FROM tokenwire.turns") == [(0,)]


async def test_rows_of_the_version_before_are_read(connection: ClickHouseConnection) -> None:
    """What was written before the newest migration reads as before, but for parts that no attempt counts."""
    before = known_migrations()[:3]
    await migrate(connection, before)
    columns = ("user", "session", "turn", "attempt", "run", "part", "last", "texts", "gaps_us")
    rows = [
        ("anna", "s", "long", 1, "r", 0, False, ["a", "b"], [1, 2]),
        ("anna", "s", "long", 1, "r", 1, False, ["c"], [3]),
        ("anna", "s", "long", 1, "r", 2, True, ["d"], [4]),
        ("anna", "s", "short", 1, "r", 0, True, ["e"], [5]),
    ]
    await connection.insert("tokenwire.turn_parts", columns, rows, token="before")
    as_it_was = await connection.query("SELECT * FROM tokenwire.turns ORDER BY turn")

    assert await migrate(connection) == [migration.name for migration in known_migrations()[3:]]
    assert await connection.query("SELECT * FROM tokenwire.turn_streams ORDER BY turn") == as_it_was
    without = [row[: -len(("texts", "gaps_us", "text"))] for row in as_it_was]
    assert await connection.query("SELECT * FROM tokenwire.turns ORDER BY turn") == without
    stray = ("anna", "s", "short", 1, "r", 0, False, ["never logged"], [6])
    await connection.insert("tokenwire.turn_parts", columns, [stray], token="stray")
    assert await connection.query("SELECT turn, text, gaps_us, parts FROM tokenwire.turn_streams ORDER BY turn") == [
        ("long", "abcd", [1, 2, 3, 4], 3),
        ("short", "e", [5], 1),
    ]
