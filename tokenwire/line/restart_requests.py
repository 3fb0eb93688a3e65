"""How `tokenwire restart` asks the `tokenwire up` of its folder: a Unix socket that only its owner may open.

One request a connection, a JSON line; the answer is a JSON line for each step and then `done` or `refused`. One
restart goes on at a time. Who asked may go: the child under way is brought back, and no further one is touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket as sockets
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from infra.embedded.rolling_restart import Step, restart_in_turn
from infra.embedded.supervisor import NotStarted, Supervisor

__all__ = [
    "NothingToRestart",
    "RestartDone",
    "RestartRefused",
    "RestartReply",
    "RestartStep",
    "ask_restart",
    "restart_names",
    "serve_restarts",
]

SOCKET_NAME: Final = "run.sock"
FOLDER_PREFIX: Final = "tokenwire-"
RANDOM_NAME: Final = "12345678"
"""As long as what `tempfile` makes a name of."""
PATH_BYTES_MAX: Final = 100
"""A Unix socket's path may not be longer; then it is put elsewhere, and its place announced."""
SHORT_FOLDER: Final = "/tmp"
"""For the socket where the folder for temporary files is too long as well."""
LINE_BYTES_MAX: Final = 4_096
REQUEST_S: Final = 5.0
"""For the one who asks to say what."""
CHILD_S_MAX: Final = 1_000.0
"""Longest silence between two steps: the longest drain window, the start, and more."""
KINDS: Final = ("gateways", "workers")
CHILD: Final = re.compile(r"(gateway|worker)(-\d+)?")


class NothingToRestart(Exception):
    """No line that can restart anything, or nothing of that name in it, or the restart did not end well."""


class RestartRequest(msgspec.Struct, frozen=True):
    """What to restart: "gateways", "workers" or a child's name."""

    what: str


class RestartStep(msgspec.Struct, frozen=True, tag="step", tag_field="type"):
    """What happens to one child; as `infra.embedded.rolling_restart.Step`."""

    name: str
    stage: str
    seconds: float
    killed: bool


class RestartDone(msgspec.Struct, frozen=True, tag="done", tag_field="type"):
    """All were restarted and are ready."""

    names: tuple[str, ...]
    seconds: float


class RestartRefused(msgspec.Struct, frozen=True, tag="refused", tag_field="type"):
    """It did not begin, or ended early; `reason` is for people."""

    reason: str


RestartReply: TypeAlias = RestartStep | RestartDone | RestartRefused


def restart_names(what: str, children: Sequence[str]) -> tuple[str, ...]:
    """The children that are meant, in their order. Raises NothingToRestart."""
    of_kind = [name for name in children if CHILD.fullmatch(name)]
    if what in KINDS:
        return tuple(name for name in of_kind if name.startswith(what.removesuffix("s")))
    if what in of_kind:
        return (what,)
    raise NothingToRestart(f"there is no {what} to restart; name one of: {', '.join((*KINDS, *of_kind))}")


@asynccontextmanager
async def serve_restarts(supervisor: Supervisor, children: Sequence[str], home: Path) -> AsyncIterator[str]:
    """Answer requests while the context is open; yields the socket's path."""
    asked = asyncio.Lock()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, TimeoutError, msgspec.MsgspecError, ValueError):
            async with asyncio.timeout(REQUEST_S):
                request = msgspec.json.decode(await reader.readline(), type=RestartRequest)
            async with contextlib.aclosing(replies(supervisor, children, request.what, asked)) as told:
                async for reply in told:
                    if not reader.at_eof():
                        writer.write(msgspec.json.encode(reply) + b"\n")
                    elif isinstance(reply, RestartStep) and reply.stage == "ready":
                        break
        writer.close()

    with socket_place(home) as path:
        server = await asyncio.start_unix_server(answer, sock=owners_socket(path), limit=LINE_BYTES_MAX)
        try:
            yield str(path)
        finally:
            server.close()


async def replies(
    supervisor: Supervisor, children: Sequence[str], what: str, asked: asyncio.Lock
) -> AsyncGenerator[RestartReply, None]:
    if asked.locked():
        yield RestartRefused("another restart is under way; wait for its end")
        return
    began_s = time.monotonic()
    async with asked:
        try:
            names = restart_names(what, children)
            async for step in restart_in_turn(supervisor, names):
                yield as_reply(step)
        except (NothingToRestart, NotStarted) as error:
            yield RestartRefused(str(error))
            return
    yield RestartDone(names, round(time.monotonic() - began_s, 1))


def as_reply(step: Step) -> RestartStep:
    return RestartStep(step.name, step.stage, round(step.seconds, 1), step.killed)


@contextlib.contextmanager
def socket_place(home: Path) -> Iterator[Path]:
    """In the folder itself, else in one of its own that has a short name."""
    path = home.absolute() / SOCKET_NAME
    elsewhere = None
    if not fits(path):
        elsewhere = tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=folder_for_socket())
        path = Path(elsewhere) / SOCKET_NAME
    path.unlink(missing_ok=True)  # left by a line that was killed
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)
        if elsewhere is not None:
            shutil.rmtree(elsewhere, ignore_errors=True)


def fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= PATH_BYTES_MAX


def folder_for_socket() -> str:
    """Where a folder for it may be made whose path is short enough."""
    usual = tempfile.gettempdir()
    return usual if fits(Path(usual) / (FOLDER_PREFIX + RANDOM_NAME) / SOCKET_NAME) else SHORT_FOLDER


def owners_socket(path: Path) -> sockets.socket:
    """Bound so that nobody else may ever open it."""
    listener = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    except OSError:
        listener.close()
        raise
    finally:
        os.umask(before)
    return listener


async def ask_restart(path: str, what: str) -> AsyncIterator[RestartReply]:
    """Ask the line whose socket this is; the steps as they happen. Raises NothingToRestart.

    Cancellation: the child under way is brought back, and no further one is touched.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(path, limit=LINE_BYTES_MAX)
    except OSError as error:
        raise NothingToRestart("`tokenwire up` does not answer; it may be stopping") from error
    try:
        writer.write(msgspec.json.encode(RestartRequest(what)) + b"\n")
        while True:
            async with asyncio.timeout(CHILD_S_MAX):
                line = await reader.readline()
            if not line:
                raise NothingToRestart("`tokenwire up` ended before the restart was over")
            reply = msgspec.json.decode(line, type=RestartReply)
            if isinstance(reply, RestartRefused):
                raise NothingToRestart(reply.reason)
            yield reply
            if isinstance(reply, RestartDone):
                return
    except TimeoutError:
        raise NothingToRestart(f"nothing was heard of the restart for {CHILD_S_MAX:g} s") from None
    finally:
        writer.close()
