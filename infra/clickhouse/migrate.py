"""Brings the database to the schema of this version: numbered files, each applied once and remembered.

Every statement of a migration may run twice (IF NOT EXISTS), so a crash between a migration and its memory, or two
processes that migrate at once, do no harm.
"""

from __future__ import annotations

import re
from importlib import resources
from typing import Final, assert_never

import structlog

from infra.clickhouse.connection import ClickHouseConnection
from infra.clickhouse.decisions.migration_plan import (
    DATABASE,
    AppliedMigration,
    Conflict,
    Due,
    Migration,
    plan_migrations,
    split_statements,
)
from infra.clickhouse.errors import MigrationConflict

__all__ = ["known_migrations", "migrate"]

log = structlog.get_logger(__name__)

FILE_NAME: Final = re.compile(r"(\d{4})_\w+\.sql\Z")
CREATE_DATABASE: Final = f"CREATE DATABASE IF NOT EXISTS {DATABASE}"
CREATE_MEMORY: Final = f"""
CREATE TABLE IF NOT EXISTS {DATABASE}.migrations
(
    number UInt32,
    name String,
    checksum String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = MergeTree ORDER BY number
SETTINGS non_replicated_deduplication_window = 100"""
SELECT_MEMORY: Final = f"SELECT number, any(name), any(checksum) FROM {DATABASE}.migrations GROUP BY number"


async def migrate(connection: ClickHouseConnection, migrations: tuple[Migration, ...] | None = None) -> list[str]:
    """Apply what is due; returns the names applied. Raises MigrationConflict, ClickHouseError.

    Cancellation: a migration may be half applied; running it again completes it.
    """
    known = known_migrations() if migrations is None else migrations
    await connection.command(CREATE_DATABASE)
    await connection.command(CREATE_MEMORY)
    rows = await connection.query(SELECT_MEMORY)
    applied = {int(number): AppliedMigration(str(name), str(checksum)) for number, name, checksum in rows}
    match plan_migrations(known, applied):
        case Conflict(problem):
            raise MigrationConflict(problem)
        case Due(due):
            for migration in due:
                await apply(connection, migration)
            return [migration.name for migration in due]
        case unreachable:
            assert_never(unreachable)


def known_migrations() -> tuple[Migration, ...]:
    """The migrations that this version brings, in order."""
    folder = resources.files("infra.clickhouse") / "migrations"
    found = []
    for file in folder.iterdir():
        match = FILE_NAME.match(file.name)
        if match is not None:
            found.append(Migration(int(match[1]), file.name, file.read_text(encoding="utf-8")))
    return tuple(sorted(found, key=lambda migration: migration.number))


async def apply(connection: ClickHouseConnection, migration: Migration) -> None:
    for statement in split_statements(migration.sql):
        await connection.command(statement)
    await connection.insert(
        f"{DATABASE}.migrations",
        ("number", "name", "checksum"),
        [(migration.number, migration.name, migration.checksum)],
        token=f"migration-{migration.number}-{migration.checksum}",
    )
    log.info("migration_applied", name=migration.name)
