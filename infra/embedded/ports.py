"""Ports on loopback: is one free, which one is free, and the sentence for one that is taken."""

from __future__ import annotations

import errno
import socket
from typing import Final

__all__ = ["LOOPBACK", "PortTaken", "choose_port", "find_free_port", "is_port_free", "require_free_port"]

LOOPBACK: Final = "127.0.0.1"


class PortTaken(Exception):
    """Another program listens on the port. Fields: port, setting. The operator picks another port."""

    def __init__(self, port: int, setting: str) -> None:
        super().__init__(
            f"Port {port} on {LOOPBACK} is taken by another program; set {setting} to a free port, or to 0 for any."
        )
        self.port = port
        self.setting = setting


def is_port_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen there now. Connections still closing down do not count as taken."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def find_free_port(host: str = LOOPBACK) -> int:
    """A port that nobody listens on at this moment; the kernel does not hand it out again at once."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port


def require_free_port(port: int, setting: str, host: str = LOOPBACK) -> None:
    """Raise PortTaken, which names the setting, unless the port is free."""
    if not is_port_free(port, host):
        raise PortTaken(port, setting)


def choose_port(port: int, setting: str, host: str = LOOPBACK) -> int:
    """The port asked for, checked to be free; for 0 a free one."""
    if port == 0:
        return find_free_port(host)
    require_free_port(port, setting, host)
    return port
