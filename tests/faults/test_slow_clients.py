"""Clients that read slowly or not at all, on real sockets (rows G1 and G2).

Short forms: times and caps are shortened, logs are in memory. Each client that misbehaves has a neighbour that must
not notice.
"""

from __future__ import annotations

import asyncio
import socket as sockets
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from websockets.exceptions import InvalidStatus

from gateway.clients.client_connection import ClientConnection
from gateway.sockets.decisions.client_outbox import OutboxLimits
from schemas.client_messages import Attach, Hello, Pong
from schemas.codec import decode_server_messages, encode
from schemas.gateway_messages import Delta, Disconnect, End, Lag, Ping, ServerMessage, Snapshot
from schemas.session_events import TokensEmitted
from tests.faults.child_gateway import ChildGateway
from tests.faults.full_size import FULL, measured, sized
from tests.faults.memory_gateway import MemoryGateway, narrow_client, raw_follower
from tests.faults.on_uvloop import WAIT_S, on_uvloop, percentile, until
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
        piece = await asyncio.get_running_loop().sock_recv(self.raw, READ_BYTES)
        assert piece, f"the gateway has closed after {self.told[-1:]}"
        self.buffer += piece
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
            case Snapshot():  # it came when the answer had begun
                assert not any(isinstance(earlier, Delta) for earlier in self.told)
                for turn in message.turns:
                    self.next_seq = turn.next_seq
                    self.text += turn.text
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
            most = max(most, gateway.gateway.services.held_bytes.total)
        late_s = await until(lambda: quick.turns["t1"].end is not None)
        behind_by_then = 2_000 - slow.next_seq
        while slow.modes[-1:] != ["direct"]:
            await slow.read()
            most = max(most, gateway.gateway.services.held_bytes.total)
        cap = gateway.gateway.services.rules.outbox_limits.connection_bytes_max

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
            await until(lambda: 'code="4508"' in gateway.gateway.services.metrics.exposition().decode())
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


PEERS: Final = sized(50, full=1_000)
TEXTS: Final = [f"{number} {'x' * 400} " for number in range(sized(600, full=3_000))]
CAP_BYTES: Final = OutboxLimits().connection_bytes_max
CLOSED_S_MAX: Final = sized(3.0, full=30.0)
TIMES: Final[dict[str, Any]] = (
    {"tick_s": 1.0} if FULL else {"outbox": {"stall_s": 0.5}, "closing_s": 0.2, "tick_s": 0.1}
)


@on_uvloop
async def test_G2_peers_that_never_read(tmp_path: Path) -> None:
    """Memory within a cap for each, closed by our own deadline, files free; the neighbour is told everything."""
    async with (
        ChildGateway.opened(tmp_path, limits={"sockets_per_user_max": PEERS + 1}, **TIMES) as gateway,
        ChatClient.connected(gateway.address, token_for("alice")) as quick,
    ):
        await quick.attach("s1")
        files_before, resident_before_mb = gateway.open_files(), gateway.resident_mb()
        async with AsyncExitStack() as stack:
            for _ in range(PEERS):
                await stack.enter_async_context(raw_follower(gateway.port, "s1"))
            watching = asyncio.create_task(most_resident_mb(gateway))
            held_most = await gateway.append("s1", answer_events("t1", TEXTS))
            told_s = time.monotonic()
            await quick.ended("t1")
            late_s = time.monotonic() - told_s
            await until(lambda: gateway.open_files() <= files_before, CLOSED_S_MAX + 15)
            gone_s = time.monotonic() - told_s
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            evicted = await gateway.metric('tokenwire_gateway_evictions_total{code="4508"}')
            await until_nothing_is_owed(gateway)
        grown_mb = gateway.most_mb - resident_before_mb
        measured(
            "G2",
            f"{PEERS} peers that never read, {sum(map(len, TEXTS)) / 1e6:.1f} MB told: {grown_mb:.1f} MB more memory "
            f"({PEERS * CAP_BYTES / 1e6:.0f} allowed), {held_most / 1e6:.1f} MB held, all gone after {gone_s:.1f} s",
        )

    assert quick.turns["t1"].text == "".join(TEXTS)
    assert quick.faults == []
    assert late_s < sized(1.0, full=5.0)
    assert gone_s <= CLOSED_S_MAX
    assert grown_mb <= PEERS * CAP_BYTES / 1e6
    assert held_most <= PEERS * CAP_BYTES / 4  # nothing is queued for those who take nothing
    assert evicted == PEERS


async def until_nothing_is_owed(gateway: ChildGateway) -> None:
    async with asyncio.timeout(WAIT_S):
        while await gateway.metric("tokenwire_gateway_unsent_bytes"):  # noqa: ASYNC110  # noted once a tick
            await asyncio.sleep(0.05)


async def most_resident_mb(gateway: ChildGateway) -> None:
    while True:
        gateway.most_mb = max(gateway.most_mb, gateway.resident_mb())
        await asyncio.sleep(0.1)


PAIRS: Final = sized(3, full=10)
NEIGHBOURS: Final = 10
PAIR_TOKENS: Final = sized(50, full=150)
RATIO_MAX: Final = sized(10.0, full=1.25)


@on_uvloop
async def test_G1_neighbours_wait_no_longer_beside_slow_readers(tmp_path: Path) -> None:
    """An answer of 50 tokens a second without and with readers of 1 KB/s beside, in turns: the p99 stays as it was."""
    ratios: list[float] = []
    async with MemoryGateway.opened(tmp_path) as gateway:
        for pair in range(PAIRS):
            without = await delays_ms(gateway, f"without-{pair}", slow=0)
            beside = await delays_ms(gateway, f"beside-{pair}", slow=NEIGHBOURS)
            ratios.append(percentile(beside, 0.99) / percentile(without, 0.99))
    ratio = statistics.median(ratios)
    measured("G1", f"p99 with slow readers beside: {ratio:.2f} × the p99 without, median of {PAIRS} pairs in turns")

    assert ratio <= RATIO_MAX


async def delays_ms(gateway: MemoryGateway, session: str, *, slow: int) -> list[float]:
    """From a record's append to each neighbour, while so many slow readers follow the same session."""
    seen: list[float] = []
    appended_s: list[float] = []
    async with AsyncExitStack() as stack, asyncio.TaskGroup() as tasks:
        slow_readers = [
            SlowReader(await stack.enter_async_context(raw_follower(gateway.port, session))) for _ in range(slow)
        ]
        reading = [tasks.create_task(read_a_kilobyte_a_second(reader)) for reader in slow_readers]
        clients = [await stack.enter_async_context(WireClient.connected(gateway.port)) for _ in range(NEIGHBOURS)]
        for client in clients:
            await client.send(Attach(session=session))
            await client.next("attached")
        listening = [tasks.create_task(note_delays(client, appended_s, seen)) for client in clients]
        events = answer_events("t1", [f"w{number:03} " for number in range(PAIR_TOKENS)])
        for event in events:
            if isinstance(event, TokensEmitted):
                appended_s.append(time.monotonic())
            await gateway.append(session, [event])
            await asyncio.sleep(0.02)  # 50 tokens a second
        await asyncio.wait(listening)
        for task in reading:
            task.cancel()
    assert len(seen) == NEIGHBOURS * PAIR_TOKENS
    return seen


async def read_a_kilobyte_a_second(reader: SlowReader) -> None:
    while True:
        await asyncio.sleep(1.0)
        await reader.read()


async def note_delays(client: WireClient, appended_s: list[float], seen: list[float]) -> None:
    while not isinstance(message := await client.next(), End):
        if isinstance(message, Delta):
            now_s = time.monotonic()
            seen.extend(1_000 * (now_s - appended_s[seq]) for seq in range(message.seq, message.seq + message.n))


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
            most = max(most, gateway.gateway.services.held_bytes.total)
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
