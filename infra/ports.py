"""Ports on this machine: is one free, which one is free, and the sentence for one that is taken.

A port that is chosen here stays promised to whoever asked for as long as this process lives: no other process of the
same user that chooses here is given it, though nobody listens on it yet, or not at the moment. That is one lock per
port, all on one small file of the user's in the folder for temporary files; the kernel frees them with the process.
It is a help and no condition: where the file can't be had, ports are only looked at. Others who don't ask here are kept
away by the choice itself (`decisions/port_choice.py`), and waited for where one came all the same (`supervisor.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import functools
import os
import random
import socket
import stat
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from infra.decisions.port_choice import OUTGOING_ASSUMED, may_be_kept, outgoing_ports, proposed_ports

__all__ = [
    "LOOPBACK",
    "ListenAddress",
    "PortPromises",
    "PortTaken",
    "choose_port",
    "find_free_port",
    "first_taken",
    "is_port_free",
    "keep_port",
    "promise_port",
    "require_free_port",
    "until_ports_free",
]

LOOPBACK: Final = "127.0.0.1"
RANGE_FILE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")
TRIES_MAX: Final = 100
POLL_S: Final = 0.2
HELD_BY_ANOTHER: Final = (errno.EAGAIN, errno.EACCES)


class PortTaken(Exception):
    """Another program listens on the port. Fields: port, setting. The operator picks another port."""

    def __init__(self, port: int, setting: str) -> None:
        super().__init__(
            f"Port {port} on {LOOPBACK} is taken by another program; set {setting} to a free port, or to 0 for any."
        )
        self.port = port
        self.setting = setting


class ListenAddress(NamedTuple):
    """Where a child will listen."""

    host: str
    port: int


class PortPromises:
    """The ports that this process has promised to parts of it. Never taken back: a part may start again any time."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._owners: dict[int, str] = {}
        self._descriptor: int | None = None  # closed by the kernel: any close in this process would free every lock
        self._guard = threading.Lock()

    def take(self, port: int, owner: str = "") -> bool:
        """Promise it; False: it is promised already, here or by another process. A named owner may take it again."""
        with self._guard:
            if port in self._owners:
                return bool(owner) and self._owners[port] == owner
            if not self._lock(port):
                return False
            self._owners[port] = owner
            return True

    def _lock(self, port: int) -> bool:
        try:
            if self._descriptor is None:
                self._descriptor = open_own_file(self._file)
        except OSError:
            return True
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        except OSError as error:
            return error.errno not in HELD_BY_ANOTHER
        return True


def open_own_file(file: Path) -> int:
    """Its descriptor. Raises OSError, also where another user made the file."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid() or not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise PermissionError(errno.EACCES, "it is not this user's file", str(file))
    return descriptor


@functools.cache
def own_promises() -> PortPromises:
    return PortPromises(Path(tempfile.gettempdir()) / f"tokenwire-ports-{os.geteuid()}.lock")


def is_port_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen there now. Connections still closing down do not count as taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def find_free_port(host: str = LOOPBACK, *, owner: str = "") -> int:
    """A port that nobody listens on, promised until this process ends. Raises OSError where none is found.

    `owner` may have it again by `keep_port`.
    """
    proposed = proposed_now()
    tries = random.sample(proposed, TRIES_MAX) if proposed else [0] * TRIES_MAX
    for port in tries:
        port = port or kernels_choice(host)
        if is_port_free(port, host) and own_promises().take(port, owner):
            return port
    raise OSError(errno.EADDRINUSE, f"no free port was found on {host} in {TRIES_MAX} tries")


def keep_port(port: int, host: str = LOOPBACK, *, owner: str) -> bool:
    """Whether the owner may use a port of an earlier run again; if so, it is promised to it."""
    return may_be_kept(port, outgoing_now()) and is_port_free(port, host) and own_promises().take(port, owner)


def promise_port(port: int) -> bool:
    """Keep others who choose here from this port; False: it was promised to somebody already."""
    return own_promises().take(port)


def require_free_port(port: int, setting: str, host: str = LOOPBACK) -> None:
    """Raise PortTaken, which names the setting, unless the port is free. From then on nobody else is promised it."""
    if not is_port_free(port, host):
        raise PortTaken(port, setting)
    promise_port(port)  # one that another process promised may be meant for us: whoever set it knows


def choose_port(port: int, setting: str, host: str = LOOPBACK, *, owner: str = "") -> int:
    """The port asked for, checked to be free; for 0 a free one. Raises PortTaken, OSError."""
    if port == 0:
        return find_free_port(host, owner=owner)
    require_free_port(port, setting, host)
    return port


def first_taken(addresses: Iterable[ListenAddress]) -> ListenAddress | None:
    """The first one where somebody sits now; one that can't be looked at is left for its server to try."""
    for address in addresses:
        with contextlib.suppress(OSError):
            if not is_port_free(address.port, address.host):
                return address
    return None


async def until_ports_free(addresses: Iterable[ListenAddress]) -> None:
    """Return once nobody sits on any of them; the caller holds the deadline."""
    addresses = tuple(addresses)
    while first_taken(addresses) is not None:  # noqa: ASYNC110  # whoever sits there tells nobody
        await asyncio.sleep(POLL_S)


@functools.cache
def outgoing_now() -> range:
    try:
        return outgoing_ports(RANGE_FILE.read_text())
    except OSError:
        return OUTGOING_ASSUMED


@functools.cache
def proposed_now() -> tuple[int, ...]:
    return proposed_ports(outgoing_now())


def kernels_choice(host: str) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port
