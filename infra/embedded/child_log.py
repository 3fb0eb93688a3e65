"""The file that a child writes to: opened at its end, bounded in size, its last words shown when the child fails."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

__all__ = ["LOG_BYTES_MAX", "bound_log", "open_log", "read_tail"]

LOG_BYTES_MAX: Final = 10 * 1024**2
TAIL_BYTES: Final = 2_000


def open_log(log_file: Path) -> int:
    """A descriptor that appends; the caller closes it."""
    log_file.parent.mkdir(parents=True, exist_ok=True)
    return os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


def bound_log(log_file: Path, bytes_max: int = LOG_BYTES_MAX) -> None:
    """Keep one older file. Copied and cut, not renamed: a running child goes on writing at the end of the same file."""
    if log_file.exists() and log_file.stat().st_size > bytes_max:
        shutil.copyfile(log_file, log_file.with_name(log_file.name + ".1"))
        os.truncate(log_file, 0)


def read_tail(log_file: Path, bytes_max: int = TAIL_BYTES) -> str:
    """The last words; empty if there are none."""
    try:
        with log_file.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - bytes_max))
            return stream.read().decode(errors="replace").strip()
    except FileNotFoundError:
        return ""
