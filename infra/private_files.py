"""Files of ours are for their owner alone, whatever the account's umask says."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

__all__ = ["OWNER_ONLY", "keep_private", "make_private", "private_opener"]

OTHERS: Final = 0o077
OWNER_ONLY: Final = 0o600
FOLDER_OWNER_ONLY: Final = 0o700


def make_private(folder: Path) -> None:
    """The folder, and those above it that are missing: `mkdir` asks the umask about them."""
    for missing in reversed([folder, *folder.parents]):
        if not missing.exists():
            missing.mkdir(mode=FOLDER_OWNER_ONLY, exist_ok=True)


def private_opener(path: str, flags: int) -> int:
    """An `opener` of `open`: a file that it makes is for its owner alone."""
    return os.open(path, flags, OWNER_ONLY)


def keep_private(home: Path) -> None:
    """What this process and its children make from now on is for their owner alone; so is the folder of everything
    kept, if it is there and ours: nobody else gets at what lies in it from before.
    """
    os.umask(OTHERS)
    with contextlib.suppress(OSError):  # none yet, or not to be changed: what is made in it is private all the same
        status = home.stat()
        if status.st_uid == os.geteuid() and status.st_mode & OTHERS:
            home.chmod(status.st_mode & 0o7777 & ~OTHERS)
