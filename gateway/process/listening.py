"""The socket that a gateway listens on."""

from __future__ import annotations

import errno
import socket as sockets
from typing import Final

from infra.ports import PortTaken

__all__ = ["bound_listener"]

KERNEL_SEND_BYTES: Final = 65_536
"""Send buffer of a socket in the kernel: what a client that does not read may cost besides our own cap."""
KERNEL_UNSENT_BYTES: Final = 16_384
"""Of those, what the kernel takes before it has sent the rest: what is in there can neither be joined nor dropped."""


def bound_listener(host: str, port: int, *, reuse_port: bool = False) -> sockets.socket:
    """Bound and not yet listening; port 0: a free one. `reuse_port`: others that say so too may share it.

    Raises PortTaken, OSError.
    """
    family = sockets.AF_INET6 if ":" in host else sockets.AF_INET
    listener = sockets.socket(family, sockets.SOCK_STREAM)
    try:
        listener.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
        if reuse_port:
            listener.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEPORT, 1)
        listener.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, KERNEL_SEND_BYTES)
        if hasattr(sockets, "TCP_NOTSENT_LOWAT"):
            listener.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NOTSENT_LOWAT, KERNEL_UNSENT_BYTES)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(port, "TOKENWIRE_GATEWAY_PORT") from error
        raise
    return listener
