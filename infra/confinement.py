"""Gives up rights of this process for good, by Linux' Landlock: most files, all programs, new TCP, signals to others.

What is given up binds this process and whatever it starts, and cannot be had again. It holds also for code that ignores
every rule of ours, such as an engine that a clever query has talked into opening a file. Nothing is asked of whoever
starts us: no root, no container, no file of rules. What a kernel does not know yet it leaves allowed, and the
`Confinement` that comes back says so.

Three system calls, through ctypes: a library would be more code than they are.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Confinement", "confine", "landlock_version"]

CREATE_RULESET: Final = 444  # the same number on every architecture, as are the next two
ADD_RULE: Final = 445
RESTRICT_SELF: Final = 446
ASK_VERSION: Final = 1
PATH_BENEATH: Final = 1
PR_SET_NO_NEW_PRIVS: Final = 38
ABSENT: Final = (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM)
"""A kernel without Landlock, one that has it switched off, a container that forbids the call."""

EXECUTE: Final = 1 << 0
WRITE_FILE: Final = 1 << 1
READ_FILE: Final = 1 << 2
READ_DIR: Final = 1 << 3
REMOVE: Final = 1 << 4 | 1 << 5
MAKE_DIR: Final = 1 << 7
MAKE_FILE: Final = 1 << 8
REFER: Final = 1 << 13
TRUNCATE: Final = 1 << 14
OF_FILES: Final = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE
"""Rights that a rule about a single file may name."""
READING: Final = READ_FILE | READ_DIR
WRITING: Final = READING | WRITE_FILE | REMOVE | MAKE_DIR | MAKE_FILE | REFER | TRUNCATE

FS_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 5: 16}
"""Since which version how many rights on files are known, from the lowest bit on."""
NET_SINCE: Final = 4
TCP: Final = 1 << 0 | 1 << 1
"""To listen and to connect."""
SCOPES_SINCE: Final = 6
SCOPES: Final = 1 << 0 | 1 << 1
"""Abstract Unix sockets, and signals to others."""


@dataclass(frozen=True, slots=True)
class Confinement:
    """What this process can do no more. `version`: Landlock's; 0 = the system has none, and nothing is given up."""

    version: int

    @property
    def lacking(self) -> str:
        """What stays possible although it should not, in words for an operator; empty: nothing."""
        if self.version == 0:
            return "this system has no Landlock, so files, programs and connections are not closed to it"
        if self.version < NET_SINCE:
            return f"Landlock {self.version} of this system does not close connections to it"
        return ""


class RulesetAttributes(ctypes.Structure):
    """What is to be given up unless a rule allows it."""

    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class PathBeneath(ctypes.Structure):
    """A rule: what is allowed at and below a path."""

    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def landlock_version() -> int:
    """Landlock's version on this system, 0 where it has none."""
    if not sys.platform.startswith("linux"):
        return 0
    try:
        return system_call(CREATE_RULESET, None, 0, ASK_VERSION)
    except OSError as error:
        if error.errno in ABSENT:
            return 0
        raise


def confine(*, read: Iterable[Path], write: Iterable[Path]) -> Confinement:
    """From here on read below `read` alone, read and write below `write`; no program, no new TCP, no signal to others.

    What is open stays open. Paths that don't exist are left out. Raises RuntimeError where other threads run already:
    they would keep their rights. Raises OSError.
    """
    version = landlock_version()
    if version == 0:
        return Confinement(0)
    if len(os.listdir("/proc/self/task")) > 1:
        raise RuntimeError("a process is confined before it starts threads")
    known = (1 << max(count for since, count in FS_RIGHTS.items() if since <= version)) - 1
    given_up = RulesetAttributes(known, TCP if version >= NET_SINCE else 0, SCOPES if version >= SCOPES_SINCE else 0)
    ruleset = system_call(CREATE_RULESET, ctypes.byref(given_up), ctypes.sizeof(given_up), 0)
    try:
        for rights, paths in ((READING, read), (WRITING, write)):
            for path in paths:
                allow(ruleset, path, rights & known)
        if library().prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS) failed")
        system_call(RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return Confinement(version)


def allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        rule = PathBeneath(rights if path.is_dir() else rights & OF_FILES, parent)
        system_call(ADD_RULE, ruleset, PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(parent)


def system_call(number: int, *arguments: object) -> int:
    result = int(library().syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"system call {number} of Landlock failed: {os.strerror(ctypes.get_errno())}")
    return result


def library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
