"""Is there room on the disk for what a run keeps: log segments, database, jars."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

__all__ = ["DISK_FREE_BYTES_MIN", "DiskSpaceShort", "require_disk_space"]

DISK_FREE_BYTES_MIN: Final = 2 * 1024**3
GIB: Final = 1024**3


class DiskSpaceShort(Exception):
    """Too little space left. Fields: folder, free_bytes, needed_bytes. The operator makes room or moves the folder."""

    def __init__(self, folder: Path, free_bytes: int, needed_bytes: int) -> None:
        super().__init__(
            f"Only {free_bytes / GIB:.1f} GB are free for {folder}, {needed_bytes / GIB:.1f} GB are needed; "
            "make room, or set TOKENWIRE_HOME to a folder on another disk."
        )
        self.folder = folder
        self.free_bytes = free_bytes
        self.needed_bytes = needed_bytes


def require_disk_space(folder: Path, needed_bytes: int = DISK_FREE_BYTES_MIN) -> None:
    """Raise DiskSpaceShort unless the disk that holds the folder (which need not exist yet) has the space."""
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    free_bytes = shutil.disk_usage(existing).free
    if free_bytes < needed_bytes:
        raise DiskSpaceShort(folder, free_bytes, needed_bytes)
