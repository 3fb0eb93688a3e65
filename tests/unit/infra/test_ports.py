"""Ports on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.ports import (
    RANGE_FILE,
    ListenAddress,
    PortPromises,
    PortTaken,
    choose_port,
    find_free_port,
    first_taken,
    is_port_free,
    keep_port,
    promise_port,
    require_free_port,
)

PROMISING = """
import sys
from pathlib import Path
from infra.ports import PortPromises
print(PortPromises(Path(sys.argv[1])).take(int(sys.argv[2])), flush=True)
sys.stdin.read()
"""


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


def test_ports_are_chosen_outside_the_kernels_range() -> None:
    """No outgoing connection goes there by itself; each is another one."""
    if not RANGE_FILE.exists():
        pytest.skip("this system does not say which ports outgoing connections get")
    first, last = map(int, RANGE_FILE.read_text().split())
    if first < 21_000:
        pytest.skip(f"outgoing connections get the ports from {first} on here, which leaves too little room")
    chosen = [find_free_port() for _ in range(50)]

    assert not [port for port in chosen if first <= port <= last]
    assert len(set(chosen)) == 50


def test_promise_holds_in_this_process() -> None:
    """A port that was given away is nobody else's, though nobody listens there; its named owner may have it again."""
    port, owned = find_free_port(), find_free_port(owner="broker")

    assert not promise_port(port)
    assert not keep_port(port, owner="")
    assert not keep_port(owned, owner="other broker")
    assert keep_port(owned, owner="broker")
    assert choose_port(port, "TOKENWIRE_KAFKA_PORT") == port  # whoever sets it knows what it is for


def test_promise_of_another_process(tmp_path: Path) -> None:
    """It holds while that process lives, however it ends; other ports are free meanwhile."""
    file = tmp_path / "ports.lock"
    command = [sys.executable, "-c", PROMISING, str(file), "20001"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"True\n"
        ours = PortPromises(file)
        while_it_lives = ours.take(20_001), ours.take(20_002)
        other.kill()
        other.wait()
        afterwards = ours.take(20_001)

    assert while_it_lives == (False, True)
    assert afterwards
    assert file.stat().st_mode & 0o077 == 0


def test_file_of_promises_cannot_be_had(tmp_path: Path) -> None:
    """A link, a folder, a folder that is not there: ports are promised within this process all the same."""
    (tmp_path / "target").touch()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    os.mkfifo(tmp_path / "fifo")
    for file in (tmp_path / "link", tmp_path, tmp_path / "fifo", tmp_path / "nowhere" / "ports.lock"):
        promises = PortPromises(file)
        assert promises.take(20_001)
        assert not promises.take(20_001)


def test_client_sits_on_a_port() -> None:
    """A socket that only talks to somebody keeps a server away too; one that can't be looked at does not."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.bind(("127.0.0.1", 0))
        client.connect(server.getsockname())
        here = ListenAddress(*client.getsockname())
        free, listening = ListenAddress("127.0.0.1", find_free_port()), ListenAddress(*server.getsockname())
        strange = ListenAddress("192.0.2.1", 20_001)

        assert first_taken([free, strange, here]) == here
        assert first_taken([free, listening]) == listening
        assert first_taken([free, strange]) is None
