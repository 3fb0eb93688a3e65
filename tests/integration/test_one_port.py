"""Several gateways on one port, as `tokenwire gateway --processes` runs them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed

import tokenwire
from infra.embedded.broker import EmbeddedBroker
from infra.ports import find_free_port
from infra.settings import Settings
from schemas.gateway_messages import Attached, Delta, End
from tests.integration.gateway_line import (
    SECRET,
    SessionWriter,
    WireClient,
    answer_events,
    gateway_settings,
    http,
    token_for,
)

CLIENTS = 24
WORDS = [f"word{number} " for number in range(60)]
WAIT_S = 30.0


class Keeper:
    """The process that keeps them, and what it said."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.port = port
        self.said: list[str] = []

    async def says(self, pattern: str) -> re.Match[str]:
        """Wait until it says this."""
        assert self.process.stderr is not None
        while True:
            async with asyncio.timeout(WAIT_S):
                line = (await self.process.stderr.readline()).decode()
            assert line, self.said
            self.said.append(line)
            found = re.search(pattern, line)
            if found is not None:
                return found

    async def metric(self, name: str) -> float:
        """One sample without labels, as any of them shows it."""
        status, body = await http(self.port, "/metrics")
        assert status == 200
        families = text_string_to_metric_families(body)
        return next(sample.value for family in families for sample in family.samples if sample.name == name)

    def children(self) -> list[int]:
        """The gateways' process ids."""
        return [
            int(pid) for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        ]

    async def connections_are(self, expected: int) -> None:
        """Wait until they add up to this."""
        async with asyncio.timeout(WAIT_S):
            while await self.metric("tokenwire_gateway_connections") != expected:  # noqa: ASYNC110  # another process
                await asyncio.sleep(0.1)


@asynccontextmanager
async def kept_gateways(settings: Settings, processes: int) -> AsyncIterator[Keeper]:
    port = find_free_port()
    environment = os.environ | {
        "TOKENWIRE_KAFKA": settings.kafka,
        "TOKENWIRE_HOME": str(settings.home),
        "TOKENWIRE_GATEWAY_PORT": str(port),
        "TOKENWIRE_GATEWAY_DRAIN_S": "0.5",
        "TOKENWIRE_GATEWAY_DRAIN_CLIENTS_PER_S": "10",
        "TOKENWIRE_AUTH_SECRET": SECRET,
        "TOKENWIRE_CURSOR_SECRET": SECRET[::-1],
        "PYTHONUNBUFFERED": "1",
    }
    argv = (sys.executable, "-P", "-m", "tokenwire", "gateway", "--processes", str(processes))
    process = await asyncio.create_subprocess_exec(*argv, env=environment, stderr=asyncio.subprocess.PIPE)
    keeper = Keeper(process, port)
    try:
        await keeper.says(f"{processes} gateways are ready")
        yield keeper
    finally:
        if process.returncode is None:
            process.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WAIT_S):
                    await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_clients_are_spread_and_counted_together(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Killing one of two costs some of the clients and not all; the metrics of any are those of all that live."""
    settings = await gateway_settings(broker, tmp_path)
    async with kept_gateways(settings, 2) as keeper, contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(WireClient.connected(keeper.port, f"user-{number}"))
            for number in range(CLIENTS)
        ]
        await keeper.connections_are(CLIENTS)
        together_bytes = await keeper.metric("process_resident_memory_bytes")
        victim, other = keeper.children()
        alone_bytes = resident_bytes(other)
        os.kill(victim, signal.SIGKILL)
        await keeper.says("gateway-. was ended by SIGKILL")
        cut = [await is_cut(client) for client in clients]
        await keeper.connections_are(CLIENTS - sum(cut))
        await keeper.says("gateway-. is ready")
        assert len(keeper.children()) == 2
    assert keeper.process.returncode == 0
    assert 0 < sum(cut) < CLIENTS
    assert together_bytes > 1.5 * alone_bytes


async def test_G6_all_are_replaced_while_an_answer_is_told(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """On SIGHUP each has a successor before it leaves: a reader moves, and gets each word once, in order."""
    settings = await gateway_settings(broker, tmp_path)
    events = answer_events("t1", WORDS)
    told: list[str] = []
    begun = asyncio.Event()

    async def read(url: str) -> int:
        async with asyncio.timeout(WAIT_S), tokenwire.connect(url, token=token_for("alice")) as wire:
            wire.attach("s1", from_="start")
            async for message in wire:
                match message:
                    case Attached():
                        begun.set()
                    case Delta():
                        told.append(message.text)
                    case End():
                        break
                    case _:
                        pass
            return wire.connections

    async with kept_gateways(settings, 2) as keeper, SessionWriter(settings) as writer, asyncio.TaskGroup() as tasks:
        before = keeper.children()
        reader = tasks.create_task(read(f"ws://127.0.0.1:{keeper.port}/v1/connect"))
        await begun.wait()
        replaced = tasks.create_task(keeper.says("all 2 gateways were replaced"))
        keeper.process.send_signal(signal.SIGHUP)
        for event in events[:-2]:
            await writer.append("alice", "s1", [event])
            await asyncio.sleep(0.05)
        await replaced
        await writer.append("alice", "s1", events[-2:])
        connections = await reader
        after = keeper.children()

    assert not set(before) & set(after)
    assert len(after) == 2
    assert connections >= 2
    assert "".join(told) == "".join(WORDS)


async def is_cut(client: WireClient) -> bool:
    """Whether its connection is gone; it is asked, as an idle one would not notice."""
    try:
        async with asyncio.timeout(WAIT_S):
            await (await client.socket.ping())
    except ConnectionClosed:
        return True
    return False


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
