"""Looks at processes from outside: does one live, until when to wait for it, scripts to run as owners of others."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "POLL_S",
    "is_alive",
    "other_server_on",
    "resident_mb",
    "run_script",
    "until",
    "wait_for_line",
]

POLL_S = 0.02


def resident_mb(pid: int) -> float:
    """Memory that a process has in use, in millions of bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that is dead but not yet collected by its parent does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    try:
        return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def until(condition: Callable[[], bool], deadline_s: float = 20.0) -> None:
    """Wait until the condition holds; TimeoutError at the deadline."""
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110 - the condition is about other processes, which set no event of ours
            await asyncio.sleep(POLL_S)


async def run_script(script: str, *arguments: str) -> asyncio.subprocess.Process:
    """Start a Python script of a test, with this checkout on its path; its output can be read."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )


async def wait_for_line(process: asyncio.subprocess.Process, word: str, deadline_s: float = 20.0) -> str:
    """The first line of its output that has the word."""
    assert process.stdout is not None
    seen = []
    async with asyncio.timeout(deadline_s):
        while line := (await process.stdout.readline()).decode():
            if word in line:
                return line
            seen.append(line)
    raise AssertionError(f"{word!r} never came:\n{''.join(seen)}")


@contextmanager
def other_server_on(port: int) -> Iterator[None]:
    """Another program sits on the port, also where connections of an earlier server still close down."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        yield
