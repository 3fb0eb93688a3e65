"""Crowds at one gateway: slow handshakes, floods, too many sockets of one user or in all (rows G10, G11, G12).

The gateway is a process of its own, with the times and caps that it has by default at full size. Who behaves meanwhile
must not notice: it comes in within a second, and its answer is whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket as sockets
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from schemas.client_messages import Attach, Hello, Pong
from tests.faults.child_gateway import ChildGateway
from tests.faults.full_size import FULL, measured, sized
from tests.faults.memory_gateway import MemoryGateway
from tests.faults.on_uvloop import WAIT_S, on_uvloop, percentile, until
from tests.faults.slow_socket import handshake
from tests.integration.chat_client import ChatClient
from tests.integration.gateway_line import WireClient, answer_events, http, token_for

CONNECT_S_MAX: Final = 1.0
WORDS: Final = [f"word{number} " for number in range(100)]

# ---- G10

STRANGERS: Final = sized(300, full=5_000)
STRANGERS_PER_S: Final = sized(600, full=1_000)
PENDING_MAX: Final = sized(100, full=2_048)
DROPPED_S_MAX: Final = sized(4.0, full=10.0)
HANDSHAKE_TIMES: Final[dict[str, Any]] = {"tick_s": 1.0} if FULL else {"open_s": 1.0, "hello_s": 1.0, "closing_s": 0.5}
FILES_BESIDES: Final = 40
"""For those who come in meanwhile, and for those who look at the metrics."""


@dataclass(slots=True)
class Strangers:
    """Sockets that begin a handshake and never end it: silent, a byte at a time, or upgraded without a hello."""

    port: int
    held_s: list[float] = field(default_factory=list)

    async def come(self) -> None:
        """All of them, one after the other, until each has been dropped."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(STRANGERS):
                tasks.create_task(self.hold(number % 3))
                await asyncio.sleep(1 / STRANGERS_PER_S)

    async def hold(self, kind: int) -> None:
        loop = asyncio.get_running_loop()
        with sockets.socket() as raw:
            raw.setblocking(False)
            await loop.sock_connect(raw, ("127.0.0.1", self.port))
            began_s = time.monotonic()
            with contextlib.suppress(ConnectionError):
                dripping = asyncio.create_task(drip(raw)) if kind == 1 else None
                try:
                    if kind == 2:
                        await loop.sock_sendall(raw, handshake(self.port))
                    while await loop.sock_recv(raw, 4_096):
                        pass
                finally:
                    if dripping is not None:
                        dripping.cancel()
                        await asyncio.gather(dripping, return_exceptions=True)
            self.held_s.append(time.monotonic() - began_s)


async def drip(raw: sockets.socket) -> None:
    for byte in handshake(0):
        await asyncio.get_running_loop().sock_sendall(raw, bytes((byte,)))
        await asyncio.sleep(0.2)


@on_uvloop
async def test_G10_slow_handshakes(tmp_path: Path) -> None:
    """Each is dropped in time, no more than the cap wait at once, and who means it is in within a second."""
    limits = {"pending_max": PENDING_MAX}
    async with ChildGateway.opened(tmp_path, limits=limits, **HANDSHAKE_TIMES) as gateway:
        files_before, files_most = gateway.open_files(), 0
        strangers = Strangers(gateway.port)
        coming = asyncio.create_task(strangers.come())
        waits_s: list[float] = []
        while not coming.done():
            began_s = time.monotonic()
            async with WireClient.connected(gateway.port):
                waits_s.append(time.monotonic() - began_s)
            files_most = max(files_most, gateway.open_files() - files_before)
            await asyncio.sleep(0.05)
        await coming
        await until(lambda: gateway.open_files() <= files_before)
        p99_s, held_s = percentile(waits_s, 0.99), max(strangers.held_s)
        measured(
            "G10",
            f"{STRANGERS} slow handshakes, dropped after {held_s:.1f} s at most, {files_most} sockets at once; "
            f"{len(waits_s)} others in within {p99_s * 1_000:.0f} ms (p99)",
        )

    assert len(strangers.held_s) == STRANGERS
    assert held_s <= DROPPED_S_MAX
    assert files_most <= PENDING_MAX + FILES_BESIDES
    assert p99_s <= CONNECT_S_MAX


# ---- G11

FLOOD_PER_S: Final = 10_000
FLOOD_S: Final = sized(0.5, full=5.0)


@asynccontextmanager
async def reader_beside(gateway: ChildGateway) -> AsyncIterator[ChatClient]:
    """Another user's client, told an answer while the block runs; afterwards it has all of it, each word once."""
    async with ChatClient.connected(gateway.address, token_for("alice")) as client:
        await client.attach("s1")
        telling = asyncio.create_task(tell(gateway))
        yield client
        await telling
        turn = await client.ended("t1")
        assert (turn.text, client.faults) == ("".join(WORDS), [])


async def tell(gateway: ChildGateway) -> None:
    for event in answer_events("t1", WORDS):
        await gateway.append("s1", [event])
        await asyncio.sleep(0.005)  # an answer of 200 tokens a second


@on_uvloop
async def test_G11_ten_thousand_messages_a_second_from_one_peer(tmp_path: Path) -> None:
    """4429 with the time to wait; whoever comes back and floods again is closed again; a reader's answer is whole."""
    told_to_wait_s: list[float] = []
    sent = 0
    async with ChildGateway.opened(tmp_path) as gateway, reader_beside(gateway):
        began_s = time.monotonic()
        while (past_s := time.monotonic() - began_s) < FLOOD_S:
            async with WireClient.connected(gateway.port, "mallory") as flood:
                sent += await flooded(flood)
                code, words = await flood.closed()
            assert code == 4429
            assert words is not None
            assert not words.reconnect
            assert words.retry_after_s
            told_to_wait_s.append(words.retry_after_s)
        measured(
            "G11",
            f"{sent} messages in {past_s:.1f} s, closed {len(told_to_wait_s)} times, told to wait "
            f"{told_to_wait_s[0]:.2f} s",
        )


async def flooded(flood: WireClient) -> int:
    """Messages that went out, ten thousand a second, until the gateway closed."""
    sent, began_s = 0, time.monotonic()
    with contextlib.suppress(ConnectionClosed):
        while True:
            while sent < FLOOD_PER_S * (time.monotonic() - began_s):
                await flood.send(Pong())
                sent += 1
            await asyncio.sleep(0)
    return sent


@on_uvloop
async def test_G11_flood_over_many_sockets_of_one_user(tmp_path: Path) -> None:
    """The user's bucket is one: whoever empties it is closed."""
    limits = {"user_message_burst": 100, "user_messages_per_s": 1.0}
    async with (
        MemoryGateway.opened(tmp_path, limits=limits) as gateway,
        WireClient.connected(gateway.port) as first,
        WireClient.connected(gateway.port) as second,
        WireClient.connected(gateway.port, "bob") as bob,
    ):
        for client in (first, second):
            await client.send_raw("[" + ",".join(['{"type":"pong"}'] * 60) + "]")
        code, _ = await second.closed()
        await bob.send(Attach(session="s1"))
        await bob.next("attached")

        assert code == 4429


SOCKETS: Final = sized(60, full=1_000)
SOCKETS_PER_USER_MAX: Final = sized(30, full=512)


@on_uvloop
async def test_G11_a_thousand_sockets_of_one_user(tmp_path: Path) -> None:
    """Beyond the cap 1013, with a time to come back; another user comes in at once, and a reader's answer is whole."""
    limits = {"sockets_per_user_max": SOCKETS_PER_USER_MAX}
    async with ChildGateway.opened(tmp_path, limits=limits) as gateway, reader_beside(gateway):
        async with AsyncExitStack() as stack:
            refused: list[float] = []
            for _ in range(SOCKETS):
                client = await stack.enter_async_context(WireClient.connected(gateway.port, None))
                await client.send(Hello(token=token_for("mallory")))
                if (await client.next("welcome", "disconnect")).__struct_config__.tag == "disconnect":
                    code, words = await client.closed()
                    assert code == 1013
                    assert words is not None
                    assert words.reconnect
                    assert words.retry_after_s is not None
                    refused.append(words.retry_after_s)
            began_s = time.monotonic()
            async with WireClient.connected(gateway.port, "bob"):
                bob_s = time.monotonic() - began_s
        async with WireClient.connected(gateway.port, "mallory"):
            pass
        measured("G11", f"{SOCKETS} sockets of one user, {len(refused)} refused; another user in after {bob_s:.3f} s")

    assert len(refused) == SOCKETS - SOCKETS_PER_USER_MAX
    assert len(set(refused)) > 1, "spread, so that they don't come back at once"
    assert bob_s <= CONNECT_S_MAX


# ---- G12

CROWD: Final = sized(150, full=2_000)


@pytest.mark.parametrize("accepted_max", [10_000, 20], ids=["files_run_out", "files_are_kept_back"])
@on_uvloop
async def test_G12_more_sockets_than_files(tmp_path: Path, accepted_max: int) -> None:
    """No crash; who is in goes on, its answer whole; once the others are gone everybody gets in again."""
    async with (
        ChildGateway.opened(tmp_path, files=40, limits={"accepted_max": accepted_max}) as gateway,
        reader_beside(gateway),
    ):
        loop = asyncio.get_running_loop()
        crowd = [await loop.run_in_executor(None, knock, gateway.port) for _ in range(CROWD)]
        turned_away = sum([await asyncio.to_thread(asked_and_refused, raw) for raw in crowd if raw is not None])
        files_most = gateway.open_files()
        if accepted_max == 20:
            assert (await http(gateway.port, "/healthz")) == (200, "alive\n")
            assert await gateway.metric('tokenwire_gateway_refused_total{where="door"}') > 0
        for raw in crowd:
            if raw is not None:
                raw.close()
        began_s = time.monotonic()
        async with asyncio.timeout(WAIT_S):
            while not await comes_in(gateway.port):  # noqa: ASYNC110  # seen from outside
                await asyncio.sleep(0.05)
        measured(
            "G12",
            f"{CROWD} sockets, {turned_away} turned away, open files {files_most}; room again after "
            f"{time.monotonic() - began_s:.2f} s",
        )

        assert gateway.is_alive
        if accepted_max == 20:
            assert turned_away >= CROWD - 20


async def comes_in(port: int) -> bool:
    with contextlib.suppress(OSError, TimeoutError, ConnectionClosed, InvalidHandshake):
        async with WireClient.connected(port, "bob", open_timeout=1.0):
            return True
    return False


def knock(port: int) -> sockets.socket | None:
    """A socket; None where even the kernel's line is full."""
    try:
        return sockets.create_connection(("127.0.0.1", port), timeout=1.0)
    except OSError:
        return None


def asked_and_refused(raw: sockets.socket) -> bool:
    """Whether the socket was answered 503, or shut out."""
    raw.settimeout(0.2)
    try:
        raw.sendall(b"GET /v1/connect HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return raw.recv(12) in (b"HTTP/1.1 503", b"")
    except ConnectionError:
        return True
    except TimeoutError:
        return False
