"""The file by which the writer tells the readers' process what there is to read, and by which token.

It is written after the migrations, at every start of the writer, whole or not at all, and only where it changes. The
readers' process looks at it with each request, so migrations and a new token need no word between the two.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from infra.clickhouse.decisions.migration_plan import DATABASE
from infra.clickhouse.decisions.reader_access import token_digest
from infra.clickhouse.decisions.reader_tables import ReadersNotice, WrittenTable
from infra.clickhouse.reader_token import reader_token
from infra.private_files import OWNER_ONLY

if TYPE_CHECKING:
    from infra.clickhouse.connection import ClickHouseConnection  # its driver is heavy, and readers need none

__all__ = ["NoticeFile", "leave_notice", "notice_path"]

log = structlog.get_logger(__name__)

TABLES: Final = (
    "SELECT name, create_table_query, engine_full, data_paths FROM system.tables "
    f"WHERE database = '{DATABASE}' ORDER BY name"
)


def notice_path(home: Path) -> Path:
    """Where the notice is."""
    return home.resolve() / "clickhouse-config" / "readers.json"


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


class NoticeFile:
    """The notice as the readers' process sees it."""

    def __init__(self, home: Path) -> None:
        self.path = notice_path(home)
        self.mark: tuple[int, ...] = ()
        self.notice: ReadersNotice | None = None

    def current(self) -> ReadersNotice | None:
        """The newest that could be read, None before the first. Costs one look at the file's dates."""
        try:
            found = self.path.stat()
            mark = (found.st_mtime_ns, found.st_size, found.st_ino)
            if mark != self.mark:
                self.mark = mark
                self.notice = msgspec.json.decode(self.path.read_bytes(), type=ReadersNotice)
        except FileNotFoundError:
            pass  # the writer has never run, or its folder was cleared: what was read stays good
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("readers_notice_unreadable", error=type(error).__name__)
        return self.notice
