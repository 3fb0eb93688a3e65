"""The socket that a gateway listens on: whose port it is, and what the kernel may hold for a client."""

from __future__ import annotations

import contextlib
import socket as sockets

import pytest

from gateway.process.listening import KERNEL_SEND_BYTES, KERNEL_UNSENT_BYTES, bound_listener
from infra.ports import PortTaken

__all__: list[str] = []


def test_port_that_somebody_listens_on() -> None:
    """It is told with the setting that moves the gateway."""
    with contextlib.closing(bound_listener("127.0.0.1", 0)) as first:
        first.listen()
        port = first.getsockname()[1]

        with pytest.raises(PortTaken, match=f"{port}.*TOKENWIRE_GATEWAY_PORT"):
            bound_listener("127.0.0.1", port)


def test_several_gateways_on_one_port() -> None:
    """They share it where each says so, and only then."""
    with contextlib.closing(bound_listener("127.0.0.1", 0, reuse_port=True)) as first:
        first.listen()
        port = first.getsockname()[1]
        with contextlib.closing(bound_listener("127.0.0.1", port, reuse_port=True)) as second:
            second.listen()

            assert second.getsockname() == first.getsockname()
        with pytest.raises(PortTaken):
            bound_listener("127.0.0.1", port)


def test_what_the_kernel_holds_for_a_client_is_bounded() -> None:
    """Accepted sockets inherit both limits; Linux doubles the first for its own bookkeeping."""
    with contextlib.closing(bound_listener("127.0.0.1", 0)) as listener:
        listener.listen()
        with contextlib.closing(sockets.create_connection(listener.getsockname(), timeout=5.0)):
            accepted, _ = listener.accept()
            with contextlib.closing(accepted):
                send_bytes = accepted.getsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF)
                unsent_bytes = accepted.getsockopt(sockets.IPPROTO_TCP, sockets.TCP_NOTSENT_LOWAT)

    assert send_bytes <= 2 * KERNEL_SEND_BYTES
    assert unsent_bytes == KERNEL_UNSENT_BYTES


def test_address_of_no_machine() -> None:
    """What is not a taken port is the system's own error."""
    with pytest.raises(OSError, match="assign"):
        bound_listener("192.0.2.1", 0)
