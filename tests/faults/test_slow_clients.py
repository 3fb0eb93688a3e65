"""Clients that read slowly or not at all, on real sockets (rows G1 and G2).

Short forms: times and caps are shortened, logs are in memory. Each client that misbehaves has a neighbour that must
not notice.
"""

from __future__ import annotations

import asyncio
import socket as sockets
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from gateway.client_connection import ClientConnection
from schemas.client_messages import Attach, Delta, Disconnect, End, Hello, Lag, Ping, Pong, ServerMessage
from schemas.codec import decode_server_messages, encode
from tests.faults.full_size import sized
from tests.faults.memory_gateway import MemoryGateway, narrow_client, raw_follower
from tests.faults.on_uvloop import on_uvloop, until
from tests.integration.chat_client import ChatClient
from tests.integration.gateway_line import WireClient, answer_events, token_for

READ_BYTES = 1_024


class SlowReader:
    """Takes a raw socket's bytes in small pieces and checks every delta's number."""

    def __init__(self, raw: sockets.socket) -> None:
        self.raw = raw
        self.buffer = b""
        self.told: list[ServerMessage] = []
        self.text = ""
        self.next_seq = 0
        self.pings = 0

    async def read(self) -> None:
        """One piece, and what is whole in it."""
        self.buffer += await asyncio.get_running_loop().sock_recv(self.raw, READ_BYTES)
        while len(self.buffer) >= 2:
            length, start = self.buffer[1], 2
            if length == 126:
                length, start = int.from_bytes(self.buffer[2:4], "big"), 4
            elif length == 127:
                length, start = int.from_bytes(self.buffer[2:10], "big"), 10
            if len(self.buffer) < start + length:
                return
            opcode, payload = self.buffer[0], self.buffer[start : start + length]
            self.buffer = self.buffer[start + length :]
            if opcode == 0x81:
                for message in decode_server_messages(payload):
                    self.hear(message)

    def hear(self, message: ServerMessage) -> None:
        self.told.append(message)
        match message:
            case Delta():
                assert message.seq == self.next_seq
                self.next_seq += message.n
                self.text += message.text
            case Ping():
                self.pings += 1
            case _:
                pass

    @property
    def ended(self) -> bool:
        return any(isinstance(message, End) for message in self.told)

    @property
    def modes(self) -> list[str]:
        return [message.mode for message in self.told if isinstance(message, Lag)]


def connection_of(gateway: MemoryGateway, user: str) -> ClientConnection:
    return next(
        connection
        for connection in gateway.gateway.connections
        if connection.requests is not None and connection.requests.user == user
    )


@asynccontextmanager
async def neighbour(gateway: MemoryGateway, session: str) -> AsyncIterator[ChatClient]:
    """Another client of the same session, which reads as it comes."""
    async with ChatClient.connected(gateway.address, token_for("alice")) as client:
        await client.attach(session)
        yield client


@on_uvloop
async def test_G1_reader_of_a_kilobyte_a_second_on_fifty_tokens_a_second(tmp_path: Path) -> None:
    """The real paces, for three seconds: rolled up, it keeps up; then read out, everything is there, in order."""
    texts = [f"w{number:03} " for number in range(150)]
    events = answer_events("t1", texts)
    async with (
        MemoryGateway.opened(tmp_path) as gateway,
        neighbour(gateway, "s1") as quick,
        raw_follower(gateway.port, "s1") as raw,
    ):
        slow, reading = SlowReader(raw), asyncio.create_task(stream(gateway, events, pace_s=0.02))
        while not reading.done():
            await asyncio.sleep(1.0)  # the pace is the test's subject
            await slow.read()
        late_s = await until(lambda: quick.turns["t1"].end is not None)
        while not slow.ended:
            await slow.read()

    assert late_s < 0.5
    assert quick.turns["t1"].text == slow.text == "".join(texts)
    assert quick.faults == []


async def stream(gateway: MemoryGateway, events: list, *, pace_s: float) -> None:  # type: ignore[type-arg]
    for event in events:
        await gateway.append("s1", [event])
        await asyncio.sleep(pace_s)


@on_uvloop
async def test_G1_reader_far_slower_than_the_answer(tmp_path: Path) -> None:
    """Through rollup and log it is told everything in order, its memory below the cap, and comes back up; a neighbour
    in the same session has the whole answer long before."""
    texts = [f"{number} {'x' * 400} " for number in range(2_000)]
    async with (
        MemoryGateway.opened(tmp_path, outbox={"rollup_s": 0.05, "settle_s": 0.1}) as gateway,
        neighbour(gateway, "s1") as quick,
        raw_follower(gateway.port, "s1", user="alice") as raw,
    ):
        slow, most = SlowReader(raw), 0
        await until(lambda: len(gateway.gateway.connections) == 2)
        for event in answer_events("t1", texts):
            await gateway.append("s1", [event])
            most = max(most, gateway.gateway.held.total)
        late_s = await until(lambda: quick.turns["t1"].end is not None)
        behind_by_then = 2_000 - slow.next_seq
        while slow.modes[-1:] != ["direct"]:
            await slow.read()
            most = max(most, gateway.gateway.held.total)
        cap = gateway.gateway.rules.outbox_limits.connection_bytes_max

    assert late_s < 0.5
    assert behind_by_then > 1_900
    assert quick.turns["t1"].text == slow.text == "".join(texts)
    assert slow.ended
    assert slow.modes[0] == "rollup"
    assert "log" in slow.modes
    assert len(slow.modes) < 12
    assert most <= 2 * cap


@on_uvloop
async def test_G1_reader_that_stops_is_closed_with_a_cursor_that_works(tmp_path: Path) -> None:
    """It has taken nothing for the named time: 4508, and the rest comes after the cursor, without hole or duplicate."""
    texts = [f"{number} {'x' * 400} " for number in range(1_500)]
    async with MemoryGateway.opened(tmp_path, outbox={"stall_s": 0.3}, closing_s=5.0) as gateway:
        async with raw_follower(gateway.port, "s1") as raw:
            slow = SlowReader(raw)
            await until(lambda: len(gateway.gateway.connections) == 1)
            for event in answer_events("t1", texts):
                await gateway.append("s1", [event])
            await until(lambda: 'code="4508"' in gateway.gateway.metrics.exposition().decode())
            while not (slow.told and isinstance(slow.told[-1], Disconnect)):
                await slow.read()
        words = slow.told[-1]
        assert isinstance(words, Disconnect)
        back = ChatClient(token_for("alice"))
        back.cursors = words.cursors
        await back.open(gateway.address)
        await back.until(lambda: "t1" in back.turns and back.turns["t1"].end is not None)
        first = next(message for message in back.told if isinstance(message, Delta))
        await back.close()

    assert words.code == 4508
    assert words.reconnect
    assert 0 < slow.next_seq < len(texts)
    assert first.seq == slow.next_seq
    assert slow.text + back.turns["t1"].text == "".join(texts)


@on_uvloop
async def test_G2_peers_that_never_read(tmp_path: Path) -> None:
    """Fifty or more: bounded, closed by our own deadline, freed; the neighbour is told everything meanwhile."""
    peers = sized(50, full=500)
    texts = [f"{number} {'x' * 400} " for number in range(600)]
    async with (
        MemoryGateway.opened(
            tmp_path, limits={"sockets_per_user_max": 1_000}, outbox={"stall_s": 0.5}, closing_s=0.2
        ) as gateway,
        neighbour(gateway, "s1") as quick,
        AsyncExitStack() as stack,
    ):
        for _ in range(peers):
            await stack.enter_async_context(raw_follower(gateway.port, "s1"))
        await until(lambda: len(gateway.gateway.connections) == peers + 1)
        most = 0
        for event in answer_events("t1", texts):
            await gateway.append("s1", [event])
            most = max(most, gateway.gateway.held.total)
        late_s = await until(lambda: quick.turns["t1"].end is not None)
        gone_s = await until(lambda: len(gateway.gateway.connections) == 1)
        unsent = gateway.gateway.held.total
        accepted = gateway.gateway.doorway.accepted
        cap = gateway.gateway.rules.outbox_limits.connection_bytes_max
        shown = gateway.gateway.metrics.exposition().decode()

    assert late_s < 0.5
    assert quick.turns["t1"].text == "".join(texts)
    assert gone_s < 3.0
    assert most <= peers * cap / 4  # nothing is queued for those who take nothing
    assert (unsent, accepted) == (0, 1)
    assert f'evictions_total{{code="4508"}} {peers}.0' in shown


@on_uvloop
async def test_ping_on_its_way_to_a_slow_reader(tmp_path: Path) -> None:
    """A reader whose backlog takes longer than a pong may is kept while it takes bytes."""
    texts = [f"{number} {'x' * 400} " for number in range(400)]
    async with (
        MemoryGateway.opened(tmp_path, ping_s=0.2, pong_s=0.4, outbox={"rollup_s": 0.05}) as gateway,
        raw_follower(gateway.port, "s1") as raw,
    ):
        slow = SlowReader(raw)
        await until(lambda: len(gateway.gateway.connections) == 1)
        for event in answer_events("t1", texts):
            await gateway.append("s1", [event])
        begun_s = time.monotonic()
        while time.monotonic() - begun_s < 1.5 and slow.pings == 0:
            await slow.read()
            await asyncio.sleep(0.05)  # the pace is the test's subject

        assert len(gateway.gateway.connections) == 1
        assert time.monotonic() - begun_s > 0.6


@on_uvloop
async def test_process_that_holds_all_it_may(tmp_path: Path) -> None:
    """Nobody new is let in, and is told when to come back; room again once those who take nothing are gone."""
    texts = [f"{number} {'x' * 2_000} " for number in range(100)]
    limits = {"held_bytes_max": 700_000}
    async with (
        MemoryGateway.opened(tmp_path, limits=limits, outbox={"stall_s": 1.0}, closing_s=0.2) as gateway,
        AsyncExitStack() as stack,
    ):
        for _ in range(60):
            await stack.enter_async_context(raw_follower(gateway.port, "s1"))
        await until(lambda: len(gateway.gateway.connections) == 60)
        most = 0
        for event in answer_events("t1", texts):
            await gateway.append("s1", [event])
            most = max(most, gateway.gateway.held.total)
        with pytest.raises(InvalidStatus) as refused:
            async with WireClient.connected(gateway.port, "bob"):
                pass
        await until(lambda: not gateway.gateway.connections)
        async with WireClient.connected(gateway.port, "bob"):
            pass

    assert refused.value.response.status_code == 503
    assert int(refused.value.response.headers["Retry-After"]) >= 5
    assert most <= 700_000 + 2_500 + 60 * 100  # one message beyond the mark, and our own words to each


@on_uvloop
async def test_narrow_websocket_client_reads_at_its_pace(tmp_path: Path) -> None:
    """The library's own client, behind a narrow socket and pausing: the same, through a real websocket."""
    texts = [f"{number} {'x' * 400} " for number in range(800)]
    async with (
        MemoryGateway.opened(tmp_path, outbox={"rollup_s": 0.05}) as gateway,
        narrow_client(gateway.port) as socket,
    ):
        await socket.send(encode(Hello(token=token_for("alice"))), text=True)
        await socket.send(encode(Attach(session="s1")), text=True)
        while not any(
            message.__struct_config__.tag == "attached" for message in decode_server_messages(await socket.recv())
        ):
            pass
        for event in answer_events("t1", texts):
            await gateway.append("s1", [event])
        text, ended = "", False
        while not ended:
            for message in decode_server_messages(await socket.recv()):
                match message:
                    case Delta():
                        text += message.text
                    case End():
                        ended = True
                    case Ping():
                        await socket.send(encode(Pong()), text=True)
                    case _:
                        pass

    assert text == "".join(texts)
