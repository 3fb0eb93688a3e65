"""How a second engine reads the tables of the writer's engine: the notice that the writer leaves, and what comes of it.

An engine's folder has one owner. But the parts of a MergeTree are folders that appear whole, never change, and stay for
a while after a merge has replaced them. So the readers' engine has tables of its own, with the writer's definition and
the writer's folder as their disk, marked as read-only: it lists the parts anew every second. A row may be that late for
readers.

Why not ask the writer for each query: then what a reader does happens in the writer. Why not a copy: twice the disk.
"""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = ["OLD_PARTS_S_MIN", "ReadersNotice", "WrittenTable", "old_parts_s", "reader_statements"]

REFRESH_S: Final = 1
"""How often the parts are listed, in whole seconds: the engine knows no shorter time."""
OLD_PARTS_S_MIN: Final = 480
"""The engine's own time for which a part stays after a merge has replaced it."""
OLD_PARTS_GRACE_S: Final = 60
KEPT_SETTINGS: Final = " SETTINGS "
"""What follows it in an engine's text is the writer's affair (deduplication, say), and not needed to read."""


class WrittenTable(msgspec.Struct, frozen=True):
    """A table or view of the writer's engine."""

    name: str
    create: str
    """The engine's own statement that makes it."""
    engine: str = ""
    """The end of that statement, from the engine's name on; empty for a view."""
    folder: str = ""
    """Where its parts are; empty for a view."""


class ReadersNotice(msgspec.Struct, frozen=True):
    """All that the readers' process is told, in a file without a secret."""

    token_sha256: bytes
    """By which it knows the readers' token."""
    store: str
    """The folder that holds all parts."""
    tables: tuple[WrittenTable, ...]


def old_parts_s(query_s_max: float) -> int:
    """How long a part must stay after a merge: longer than the longest query that may have begun on it."""
    return max(OLD_PARTS_S_MIN, int(query_s_max) + REFRESH_S + OLD_PARTS_GRACE_S)


def reader_statements(database: str, tables: tuple[WrittenTable, ...]) -> list[str]:
    """Statements that give the readers' engine these tables, in place of those that it has; views come last.

    Each replaces the former table at once, and a query that runs keeps the one that it began with.
    """
    made = [f"CREATE DATABASE IF NOT EXISTS {database}"]
    for table in sorted(tables, key=lambda table: not table.folder):
        text = read_only(table) if table.folder else table.create
        made.append(text.replace("CREATE ", "CREATE OR REPLACE ", 1))
    return made


def read_only(table: WrittenTable) -> str:
    columns = table.create.removesuffix(table.engine)
    if not table.engine or columns == table.create:
        raise ValueError(f"{table.name} does not end with its engine")
    engine = table.engine.partition(KEPT_SETTINGS)[0]
    path = table.folder.replace("\\", "\\\\").replace("'", "\\'")
    disk = (
        "disk(type = 'object_storage', object_storage_type = 'local', metadata_type = 'plain', readonly = 1, "
        f"path = '{path}')"
    )
    return f"{columns}{engine} SETTINGS table_disk = 1, disk = {disk}, refresh_parts_interval = {REFRESH_S}"
