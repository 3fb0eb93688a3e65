"""Writes the file by which the readers' process learns what there is to read.

It is written after the migrations, at every start of the writer, whole or not at all, and only where it changes. Apart
from `infra.clickhouse.readers_notice`, because the writer's driver is heavy and the readers' process needs none.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import msgspec

from infra.clickhouse.connection import ClickHouseConnection
from infra.clickhouse.decisions.migration_plan import DATABASE
from infra.clickhouse.decisions.reader_access import token_digest
from infra.clickhouse.decisions.reader_tables import ReadersNotice, WrittenTable
from infra.clickhouse.reader_token import reader_token
from infra.clickhouse.readers_notice import notice_path
from infra.private_files import OWNER_ONLY

__all__ = ["leave_notice"]

TABLES: Final = (
    "SELECT name, create_table_query, engine_full, data_paths FROM system.tables "
    f"WHERE database = '{DATABASE}' ORDER BY name"
)


async def leave_notice(connection: ClickHouseConnection, home: Path) -> None:
    """Tell the readers' process of the tables as they are now. Raises ClickHouseError, SecretDamaged, OSError."""
    rows = await connection.query(TABLES)
    tables = tuple(WrittenTable(name, create, engine, *paths[:1]) for name, create, engine, paths in rows)
    digest = token_digest(reader_token(home))
    text = msgspec.json.encode(ReadersNotice(digest, str(connection.files.data / "store"), tables))
    path = notice_path(home)
    if path.exists() and path.read_bytes() == text:
        return
    unfinished = path.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY), "wb") as file:
        file.write(text)
    unfinished.rename(path)
