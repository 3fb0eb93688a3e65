"""Secrets that are made on first use and kept: one file each, readable by its owner only.

Several processes may start at once on an empty folder and must agree on the secret, so making one is guarded by a
lock on the folder itself (released by the kernel when its holder dies), and a file appears whole or not at all.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

__all__ = ["SECRET_BYTES_MIN", "SecretDamaged", "load_or_create_secret"]

SECRET_BYTES_MIN: Final = 32
RANDOM_BYTES: Final = 48
OWNER_ONLY: Final = 0o600
FOLDER_OWNER_ONLY: Final = 0o700
PLAIN_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}\Z")


class SecretDamaged(Exception):
    """A secret's file does not hold one. Field: path. The operator removes it; what it signed or opened is void."""

    def __init__(self, path: Path, wanted: str = f"{SECRET_BYTES_MIN} bytes or more") -> None:
        super().__init__(f"{path} holds no secret of {wanted}; remove it, and the next start makes a new one")
        self.path = path


def load_or_create_secret(folder: Path, name: str) -> bytes:
    """The secret called `name` in `folder`: at least 32 random bytes, of printable characters, the same every time.

    Makes folder and file where absent (0700, 0600). Raises SecretDamaged, OSError.
    """
    if PLAIN_NAME.match(name) is None:
        raise ValueError("a secret's name is made of small letters, digits, - and _")
    folder.mkdir(mode=FOLDER_OWNER_ONLY, parents=True, exist_ok=True)
    path = folder / name
    with locked(folder):
        if not path.exists():
            create(path)
        return load(path)


def load(path: Path) -> bytes:
    if path.stat().st_mode & 0o077:  # restored from a backup, say: what others could read, they no longer can
        path.chmod(OWNER_ONLY)
    secret = path.read_bytes().strip()
    if len(secret) < SECRET_BYTES_MIN:
        raise SecretDamaged(path)
    return secret


def create(path: Path) -> None:
    """Write beside the final name and rename, so that a crash leaves no half of a secret under it."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_urlsafe(RANDOM_BYTES).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. It is held for a file's writing only, so waiting for it is short."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
