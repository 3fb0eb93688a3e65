"""Ports on loopback."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from infra.embedded.ports import PortTaken, choose_port, find_free_port, is_port_free, require_free_port


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_port_is_taken(taken_port: int) -> None:
    """One sentence names the port, the setting and the way out."""
    with pytest.raises(PortTaken) as caught:
        require_free_port(taken_port, "TOKENWIRE_GATEWAY_PORT")

    assert not is_port_free(taken_port)
    assert str(caught.value) == (
        f"Port {taken_port} on 127.0.0.1 is taken by another program; "
        "set TOKENWIRE_GATEWAY_PORT to a free port, or to 0 for any."
    )


def test_port_zero() -> None:
    """Any free port."""
    assert is_port_free(choose_port(0, "TOKENWIRE_KAFKA_PORT"))


def test_port_is_free() -> None:
    """It is taken as it is."""
    port = find_free_port()

    assert choose_port(port, "TOKENWIRE_KAFKA_PORT") == port


def test_connection_of_an_earlier_server_lingers() -> None:
    """A port whose server has just closed its connections is free for the next server."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Java's and asyncio's servers do
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = server.accept()
            accepted.close()  # closes first, so that its side lingers in TIME_WAIT
            client.recv(1)

    assert is_port_free(port)
