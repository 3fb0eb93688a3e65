"""How a child says that it is ready, where no page of its own can be asked: those on one port answer for each other.

The protocol is systemd's (`sd_notify`): a datagram to the socket named in `NOTIFY_SOCKET`. So the same word tells a
supervisor of ours and a systemd unit of `Type=notify`.
"""

from __future__ import annotations

import contextlib
import os
import socket as sockets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from infra.embedded.child_spec import ReadyProbe

__all__ = ["NOTIFY_SOCKET", "ReadyNotices", "notice_ready", "ready_notices"]

NOTIFY_SOCKET: Final = "NOTIFY_SOCKET"
NOTICE_BYTES_MAX: Final = 4_096


def notice_ready() -> None:
    """Say that this process is ready, to whoever asked to hear it; nobody, as a rule. Never raises."""
    address = os.environ.get(NOTIFY_SOCKET, "")
    if not address:
        return
    if address.startswith("@"):  # Linux's abstract names
        address = "\0" + address[1:]
    words = f"READY=1\nMAINPID={os.getpid()}"
    with contextlib.suppress(OSError), sockets.socket(sockets.AF_UNIX, sockets.SOCK_DGRAM) as speaking:
        speaking.setblocking(False)
        speaking.sendto(words.encode(), address)


class ReadyNotices:
    """The ear for one child."""

    def __init__(self, listener: sockets.socket, path: Path) -> None:
        self._listener = listener
        self.path = path
        self._ready_pid: int | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What the child needs to find us."""
        return {NOTIFY_SOCKET: str(self.path)}

    def probe(self, pid: Callable[[], int | None]) -> ReadyProbe:
        """Whether the process that runs now has said so; what an earlier one said does not count."""

        async def is_ready() -> bool:
            self.hear()
            return self._ready_pid is not None and self._ready_pid == pid()

        return is_ready

    def hear(self) -> None:
        """Take in what was said."""
        with contextlib.suppress(BlockingIOError):
            while True:
                words = dict(
                    line.partition("=")[::2] for line in self._listener.recv(NOTICE_BYTES_MAX).decode().splitlines()
                )
                if words.get("READY") == "1" and words.get("MAINPID", "").isdigit():
                    self._ready_pid = int(words["MAINPID"])


@contextlib.contextmanager
def ready_notices(folder: Path, name: str) -> Iterator[ReadyNotices]:
    """An ear for the child of this name, in a folder that only its owner may enter. Raises OSError."""
    path = folder / f"{name}.sock"
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_DGRAM) as listener:
        listener.setblocking(False)
        listener.bind(str(path))
        try:
            yield ReadyNotices(listener, path)
        finally:
            path.unlink(missing_ok=True)
