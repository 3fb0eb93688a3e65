"""Connections whose other side is gone without a word: noticed by the gateway and by the client (row G3)."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import tokenwire
from schemas.client_messages import Attach
from schemas.gateway_messages import Delta, End
from tests.faults.black_hole import BlackHole
from tests.faults.child_gateway import ChildGateway
from tests.faults.full_size import FULL, measured, sized
from tests.faults.on_uvloop import on_uvloop, until
from tests.integration.chat_client import ChatClient
from tests.integration.gateway_line import WireClient, answer_events, token_for

PEERS: Final = sized(3, full=50)
DETECTED_S_MAX: Final = sized(3.0, full=45.0)
FREED_S_MAX: Final = DETECTED_S_MAX + sized(1.0, full=7.0)
TIMES: Final[dict[str, Any]] = {} if FULL else {"ping_s": 0.2, "pong_s": 0.3, "closing_s": 0.2, "tick_s": 0.05}
if FULL:
    TIMES["tick_s"] = 1.0
WORDS: Final = [f"word{number} " for number in range(60)]
NO_PONGS: Final = 'tokenwire_gateway_evictions_total{code="4512"}'


@on_uvloop
async def test_G3_half_open_connections_are_noticed_freed_and_resumable(tmp_path: Path) -> None:
    """Through a proxy that swallows everything in mid-answer: 4512 in time, files free, the rest after each cursor."""
    events = answer_events("t1", WORDS)
    async with (
        ChildGateway.opened(tmp_path, **TIMES) as gateway,
        BlackHole.opened(gateway.port) as hole,
        ChatClient.connected(gateway.address, token_for("alice")) as neighbour,
        AsyncExitStack() as stack,
    ):
        await neighbour.attach("s1")
        files_before = gateway.open_files()
        peers = [await stack.enter_async_context(lost_client(hole.port)) for _ in range(PEERS)]
        await gateway.append("s1", events[:22])
        told = [await said_so_far(peer, 20) for peer in peers]
        hole.swallow()
        began_s = time.monotonic()
        await gateway.append("s1", events[22:32])
        await until_noticed(gateway, PEERS)
        detected_s = time.monotonic() - began_s
        await until(lambda: gateway.open_files() == files_before, FREED_S_MAX)
        freed_s = time.monotonic() - began_s
        await gateway.append("s1", events[32:])
        rests = [await resumed(gateway.port, cursor, next_seq) for _, next_seq, cursor in told]
        seen = await neighbour.ended("t1")
        measured("G3", f"{PEERS} half-open, noticed after {detected_s:.1f} s, files free after {freed_s:.1f} s")

    assert detected_s <= DETECTED_S_MAX
    assert freed_s <= FREED_S_MAX
    assert [text + rest for (text, _, _), rest in zip(told, rests, strict=True)] == ["".join(WORDS)] * PEERS
    assert (seen.text, neighbour.faults) == ("".join(WORDS), [])


@on_uvloop
async def test_G3_client_goes_on_at_another_address(tmp_path: Path) -> None:
    """The Python client hears nothing for one and a half of the gateway's periods, and resumes: each word once."""
    events = answer_events("t1", WORDS)
    async with ChildGateway.opened(tmp_path, **TIMES) as gateway, BlackHole.opened(gateway.port) as hole:
        urls = [f"ws://127.0.0.1:{hole.port}/v1/connect", gateway.url]
        told: list[str] = []
        async with asyncio.timeout(90), tokenwire.connect(urls, token=token_for("alice")) as line:
            line.attach("s1", from_="start")
            await gateway.append("s1", events[:22])
            async for message in line:
                if isinstance(message, Delta):
                    told.append(message.text)
                if hole.passing.is_set() and "".join(told) == "".join(WORDS[:20]):
                    hole.swallow()
                    began_s = time.monotonic()
                    await gateway.append("s1", events[22:])
                if isinstance(message, End):
                    break
            took_s = time.monotonic() - began_s
            measured("G3", f"the client had the rest {took_s:.1f} s after the network died")

            assert line.connections == 2
    assert "".join(told) == "".join(WORDS)
    assert took_s <= sized(5.0, full=75.0)


def lost_client(port: int):  # type: ignore[no-untyped-def]  # an async context manager
    return WireClient.connected(port, close_timeout=0.1, ping_interval=None)


async def said_so_far(peer: WireClient, words: int) -> tuple[str, int, str]:
    """Attach and read so much: text, next number, cursor."""
    await peer.send(Attach(session="s1", from_="start"))
    text, next_seq, cursor = "", 0, ""
    while next_seq < words:
        message = await peer.next()
        if isinstance(message, Delta):
            assert message.seq == next_seq
            text, next_seq, cursor = text + message.text, message.seq + message.n, message.c
    return text, next_seq, cursor


async def resumed(port: int, cursor: str, next_seq: int) -> str:
    """The rest of the answer on a new connection with the cursor; no hole, no duplicate."""
    text = ""
    async with WireClient.connected(port, resume={"s1": cursor}) as client:
        while not isinstance(message := await client.next(), End):
            if isinstance(message, Delta):
                assert message.seq == next_seq
                text, next_seq = text + message.text, message.seq + message.n
    return text


async def until_noticed(gateway: ChildGateway, peers: int) -> None:
    async with asyncio.timeout(DETECTED_S_MAX + 10):
        while await gateway.metric(NO_PONGS) < peers:  # noqa: ASYNC110  # seen from outside, as an operator would
            await asyncio.sleep(0.1)
