"""The supervisor and ports that were chosen for its children: clients of other programs may sit on them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from infra.embedded.child_spec import ChildSpec
from infra.embedded.decisions.restart_policy import RestartPolicy
from infra.embedded.supervisor import Supervisor
from infra.ports import ListenAddress, find_free_port
from tests.integration.process_probe import until
from tests.integration.supervised_children import child, running, said

LISTENING = """
import pathlib, signal, socket, sys, time
print("began", flush=True)
while len(sys.argv) > 2 and not pathlib.Path(sys.argv[2]).exists():
    time.sleep(0.02)
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True: signal.pause()
"""


def listening_child(*arguments: str) -> tuple[ChildSpec, int]:
    """A child that listens on a port chosen for it, once the file named in the arguments is there; the port."""
    port = find_free_port()

    async def listens() -> bool:
        """Who asks closes first and is never accepted, so that nothing lingers on the port when the child has ended."""
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    chosen = (ListenAddress("127.0.0.1", port),)
    return child("one", LISTENING, str(port), *arguments, ready=listens, chosen_ports=chosen), port


@contextmanager
def client_on(port: int) -> Iterator[None]:
    """A client's socket of another program, connected from that port to somebody."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.bind(("127.0.0.1", port))
        client.connect(server.getsockname())
        with server.accept()[0]:
            yield
        client.recv(1)  # the other side closes first: else this one would linger for a minute


@asynccontextmanager
async def begun(spec: ChildSpec, folder: Path, lines: list[str]) -> AsyncIterator[tuple[Supervisor, asyncio.Event]]:
    """A supervisor that has begun, and what is set once its child is ready; stopped at the end."""
    ready = asyncio.Event()
    supervisor = Supervisor([spec], logs_folder=folder, say=lines.append, on_all_ready=ready.set)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(supervisor.run(handle_signals=False))
        try:
            yield supervisor, ready
        finally:
            supervisor.request_stop()


async def test_client_sits_on_the_chosen_port_at_the_start(tmp_path: Path) -> None:
    """The child is not started before it has left; what it waits for is said once."""
    lines: list[str] = []
    spec, port = listening_child()
    with client_on(port):
        async with begun(spec, tmp_path, lines) as (supervisor, ready):
            await until(lambda: bool(lines))
            assert supervisor.pid_of("one") is None
    assert lines[0] == f"one waits for port {port}, which another program has"
    assert lines[-1].startswith("stopped 1 processes"), "a stop does not wait for the client"
    assert said(tmp_path, "one") == ""

    lines.clear()
    async with begun(spec, tmp_path, lines) as (supervisor, ready):
        with client_on(port):
            await until(lambda: bool(lines))
        async with asyncio.timeout(20):
            await ready.wait()
    assert [line.split(" (")[0] for line in lines[:2]] == [
        f"one waits for port {port}, which another program has",
        "one is ready",
    ]


async def test_client_sits_on_the_chosen_port_at_a_restart(tmp_path: Path) -> None:
    """The port is not another one when the child comes back; it comes back when the client has left."""
    lines: list[str] = []
    spec, port = listening_child()
    async with running([spec], tmp_path, lines) as supervisor:
        await supervisor.stop("one")
        with client_on(port):
            starting = asyncio.create_task(supervisor.start("one"))
            await until(lambda: f"one waits for port {port}, which another program has" in lines)
            assert supervisor.pid_of("one") is None
        await starting

        assert supervisor.is_ready("one")
    assert "restarted" not in lines[-1]


async def test_client_comes_to_the_chosen_port_before_the_child(tmp_path: Path) -> None:
    """It ends and says why, which is no failure of its own: it is started again once, when the client has left."""
    lines: list[str] = []
    go = tmp_path / "go"
    spec, port = listening_child(str(go))
    async with begun(spec, tmp_path, lines) as (_, ready):
        await until(lambda: "began" in said(tmp_path, "one"))
        with client_on(port):
            go.touch()
            await until(lambda: len(lines) == 2)
        async with asyncio.timeout(20):
            await ready.wait()

    assert lines[:2] == [
        f"one could not have port {port}, which another program has; restarting in 0.5 s",
        f"one waits for port {port}, which another program has",
    ]
    assert said(tmp_path, "one").count("began") == 2
    assert "Address already in use" in said(tmp_path, "one")


async def test_chosen_port_stays_taken(tmp_path: Path) -> None:
    """After its time the child is given up, and the operator hears of the port."""
    lines: list[str] = []
    spec, port = listening_child()
    policy = RestartPolicy(port_wait_s=0.3)
    with client_on(port):
        async with asyncio.timeout(20):
            supervisor = Supervisor([spec], logs_folder=tmp_path, say=lines.append, policy=policy)
            code = await supervisor.run(handle_signals=False)

    assert code == 1
    assert any(f"giving up: port {port} was not free within 0.3 s" in line for line in lines)
