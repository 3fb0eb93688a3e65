"""A process that has given up its rights, from inside: a child, since it can't have them back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from infra.confinement import Confinement, landlock_version

__all__: list[str] = []

WITHIN = """
import os, signal, socket, subprocess, sys, threading
from pathlib import Path
from infra.confinement import confine

readable, writable, closed, port = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
confine(read=(readable, readable / "absent"), write=(writable,))

def forbidden(action):
    try:
        action()
    except PermissionError:
        return True
    return False

def in_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(forbidden((closed / "file").read_text)))
    thread.start()
    thread.join()
    return found == [True]

assert (readable / "file").read_text() == "r"
(writable / "new").write_text("w")
(writable / "folder").mkdir()
(writable / "new").rename(writable / "folder" / "moved")
assert forbidden((closed / "file").read_text), "read"
assert forbidden(lambda: (closed / "new").write_text("w")), "make"
assert forbidden(lambda: os.listdir(closed)), "list"
assert forbidden(lambda: (readable / "file").write_text("w")), "write what is for reading"
assert forbidden(lambda: os.truncate(readable / "file", 0)), "truncate"
assert forbidden((readable / "file").unlink), "remove"
assert forbidden(lambda: os.symlink(closed, writable / "link")), "link"
assert in_thread(), "a thread"
assert forbidden(lambda: subprocess.run(["/bin/true"])), "program"
if sys.argv[5] == "net":
    assert forbidden(lambda: socket.create_connection(("127.0.0.1", port))), "connect"
    assert forbidden(lambda: socket.create_server(("127.0.0.1", 0))), "listen"
if sys.argv[6] == "scope":
    assert forbidden(lambda: os.kill(os.getppid(), 0)), "signal"
os.kill(os.getpid(), 0)
print("held")
"""
WITH_THREADS = """
import threading
from infra.confinement import confine
waits = threading.Event()
thread = threading.Thread(target=waits.wait)
thread.start()
try:
    confine(read=(), write=())
except RuntimeError as error:
    print(error)
finally:
    waits.set()
"""


@pytest.mark.skipif(landlock_version() == 0, reason="this system has no Landlock")
def test_what_is_given_up_is_given_up(tmp_path: Path) -> None:
    """Files, programs, connections, signals to others; threads that come later as well."""
    folders = [tmp_path / name for name in ("readable", "writable", "closed")]
    for folder in folders:
        folder.mkdir()
        (folder / "file").write_text(folder.name[0])
    version = landlock_version()
    rights = ["net" if version >= 4 else "", "scope" if version >= 6 else ""]

    assert told(WITHIN, *map(str, folders), "9", *rights) == "held"
    assert [file.name for file in folders[2].iterdir()] == ["file"]


@pytest.mark.skipif(landlock_version() == 0, reason="this system has no Landlock")
def test_threads_that_run_already_are_an_error() -> None:
    """They would keep their rights."""
    assert told(WITH_THREADS) == "a process is confined before it starts threads"


@pytest.mark.parametrize(("version", "word"), [(0, "no Landlock"), (3, "connections"), (4, ""), (9, "")])
def test_what_is_lacking_is_said(version: int, word: str) -> None:
    """For an operator, and nothing where nothing is lacking."""
    lacking = Confinement(version).lacking

    assert word in lacking
    assert bool(lacking) == bool(word)


def told(script: str, *arguments: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()
