"""Secrets that are made on first use and kept: one file each, readable by its owner only.

Several processes may start at once on an empty folder and must agree on the secret, so making one is guarded by a
lock on the folder itself (released by the kernel when its holder dies), and a file appears whole or not at all.

A folder or file that others may write, or that is another account's, is refused: a key may be theirs.
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

from infra.private_files import OWNER_ONLY, make_private
from infra.settings import Settings

__all__ = ["SECRET_BYTES_MIN", "SecretDamaged", "SecretExposed", "load_or_create_secret", "token_secret"]

SECRET_BYTES_MIN: Final = 32
RANDOM_BYTES: Final = 48
READ_BY_OTHERS: Final = 0o077
WRITTEN_BY_OTHERS: Final = 0o022
ROOT: Final = 0
PLAIN_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,63}\Z")


class SecretDamaged(Exception):
    """A secret's file does not hold one. Field: path. The operator removes it; what it signed or opened is void."""

    def __init__(self, path: Path, wanted: str = f"{SECRET_BYTES_MIN} bytes or more") -> None:
        super().__init__(f"{path} holds no secret of {wanted}; remove it, and the next start makes a new one")
        self.path = path


class SecretExposed(SecretDamaged):
    """Others may have put a key of theirs there. Field: path."""

    def __init__(self, path: Path) -> None:
        Exception.__init__(
            self,
            f"{path} belongs to another account, or others may write it: a key may be theirs. Remove the key, "
            f"make the path yours and close it to others (chmod go= {path}); the next start makes a new key",
        )
        self.path = path


def load_or_create_secret(folder: Path, name: str) -> bytes:
    """The secret called `name` in `folder`: at least 32 random bytes, of printable characters, the same every time.

    Makes folder and file where absent (0700, 0600). Raises SecretDamaged, SecretExposed, OSError.
    """
    if PLAIN_NAME.match(name) is None:
        raise ValueError("a secret's name is made of small letters, digits, - and _")
    make_private(folder)
    close(folder)
    path = folder / name
    with locked(folder):
        if not path.exists():
            create(path)
        return load(path)


def token_secret(settings: Settings) -> bytes:
    """What signs access tokens where no keys of somebody else's do. Raises as `load_or_create_secret` does."""
    return settings.auth_secret.get_secret_value().encode() or load_or_create_secret(settings.home / "keys", "auth")


def close(path: Path) -> None:
    """Restored from a backup, say: what others could read, they no longer can. Raises SecretExposed."""
    status, account = path.stat(), os.geteuid()
    if status.st_mode & WRITTEN_BY_OTHERS or (account not in (ROOT, status.st_uid) and status.st_uid != ROOT):
        raise SecretExposed(path)
    if status.st_mode & READ_BY_OTHERS and account in (ROOT, status.st_uid):
        path.chmod(status.st_mode & 0o7777 & ~READ_BY_OTHERS)


def load(path: Path) -> bytes:
    close(path)
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
