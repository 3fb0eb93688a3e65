"""The file by which the writer tells the readers' process what there is to read, and by which token.

The readers' process looks at it with each request, so migrations and a new token need no word between the two
(`infra.clickhouse.notice_writing` writes it).
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import structlog

from infra.clickhouse.decisions.reader_tables import ReadersNotice

__all__ = ["NoticeFile", "notice_path"]

log = structlog.get_logger(__name__)


def notice_path(home: Path) -> Path:
    """Where the notice is."""
    return home.resolve() / "clickhouse-config" / "readers.json"


class NoticeFile:
    """The notice as the readers' process sees it."""

    def __init__(self, home: Path) -> None:
        self._path = notice_path(home)
        self._mark: tuple[int, ...] = ()
        self._notice: ReadersNotice | None = None

    def current(self) -> ReadersNotice | None:
        """The newest that could be read, None before the first. Costs one look at the file's dates."""
        try:
            found = self._path.stat()
            mark = (found.st_mtime_ns, found.st_size, found.st_ino)
            if mark != self._mark:
                self._mark = mark
                self._notice = msgspec.json.decode(self._path.read_bytes(), type=ReadersNotice)
        except FileNotFoundError:
            pass  # the writer has never run, or its folder was cleared: what was read stays good
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("readers_notice_unreadable", error=type(error).__name__)
        return self._notice
