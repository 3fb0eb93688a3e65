"""The readers' own engine: in a folder of its own, with tables whose parts are those of the writer's.

The folder holds nothing that is not made anew, so it is emptied at every start, and whatever has happened to it, a
restart mends it. How tables of another engine can be read at all is told in `decisions/reader_tables.py`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import structlog

from infra.clickhouse.decisions.migration_plan import DATABASE
from infra.clickhouse.decisions.reader_tables import ReadersNotice, WrittenTable, reader_statements
from infra.clickhouse.embedded_reader import chdb_connect, plain_message
from infra.clickhouse.engine_files import READER_RIGHTS, EngineFiles
from infra.clickhouse.errors import ClickHouseUnavailable
from infra.clickhouse.readers_notice import NoticeFile

__all__ = ["ReaderEngine"]

log = structlog.get_logger(__name__)

TRIED_AGAIN_S: Final = 1.0
"""Pause after an attempt to make the tables that failed; queries are refused meanwhile."""
REASON_CHARS_MAX: Final = 300


class ReaderEngine:
    """Made by `reader_engine`. `bring_up` before each query, in its thread."""

    def __init__(self, files: EngineFiles, notice: NoticeFile, on_other_store: Callable[[], None]) -> None:
        self.files = files
        self._notice = notice
        self._on_other_store = on_other_store
        self._store = ""
        self._store_mark: tuple[int, int] = (0, 0)
        self._lock = threading.Lock()
        self._session: Any = None
        self._tables: tuple[WrittenTable, ...] = ()
        self.fault = ""
        """Why queries can't be answered; empty while they can, as far as is known."""
        self._failed_at_s = -TRIED_AGAIN_S

    def look_at(self, store: str) -> None:
        """Remember which folder the parts are in: rights are given to it, and not to another of the same name."""
        self._store, self._store_mark = store, mark_of(store)

    def bring_up(self) -> None:
        """Have the tables that the writer told of last. Raises ClickHouseUnavailable."""
        with self._lock:
            told = self._notice.current()
            if told is None:
                raise ClickHouseUnavailable("There are no tables yet: start `tokenwire analytics`.")
            if told.tables == self._tables:
                return
            if time.monotonic() < self._failed_at_s + TRIED_AGAIN_S:
                raise ClickHouseUnavailable(self.fault)
            if mark_of(told.store) != self._store_mark:
                self._on_other_store()
                raise ClickHouseUnavailable("The tables are in another folder now; this process starts again for it.")
            self.make(told)

    def make(self, told: ReadersNotice) -> None:
        try:
            if self._session is None:
                options = urlencode({"config-file": str(self.files.config)}, safe="/")
                self._session = chdb_connect(f"{self.files.data}?{options}")
            for statement in reader_statements(DATABASE, told.tables):
                self._session.query(statement, "TabSeparated")
        except (RuntimeError, ImportError, OSError, ValueError) as error:
            reason = plain_message(str(error))[:REASON_CHARS_MAX]
            self.fault, self._failed_at_s = f"The tables can't be read: {reason}", time.monotonic()
            log.error("tables_not_read", error=reason)
            raise ClickHouseUnavailable(self.fault) from error
        self.fault, self._tables = "", told.tables
        log.info("tables_made", tables=[table.name for table in told.tables])

    def close(self) -> None:
        """Close the engine."""
        if self._session is not None:
            self._session.close()


@contextlib.contextmanager
def reader_engine(
    home: Path, notice: NoticeFile, *, query_s_max: float, on_other_store: Callable[[], None]
) -> Iterator[ReaderEngine]:
    """An engine on an empty folder in TOKENWIRE_HOME, one at a time; this process's temporary files go there as well.

    Raises DataFolderInUse, OSError.
    """
    files = EngineFiles(home / "reader")
    files.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with files.claim():
        temporary = files.home.resolve() / "tmp"
        for folder in (files.data, temporary):
            shutil.rmtree(folder, ignore_errors=True)
        temporary.mkdir()
        os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)  # for engine and Python: the usual one may be closed
        files.write(query_s_max=query_s_max, rights=READER_RIGHTS)
        engine = ReaderEngine(files, notice, on_other_store)
        try:
            yield engine
        finally:
            engine.close()


def mark_of(folder: str) -> tuple[int, int]:
    try:
        found = Path(folder).stat()
    except OSError:
        return (0, 0)
    return (found.st_dev, found.st_ino)
