"""Peers that break the rules of websockets and of JSON: the right close code or an error, and nobody else harmed."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.clients.session_attachments import SessionAttachments
from gateway.sockets.client_socket import FORGOTTEN_REQUEST
from schemas.client_messages import Attach, Hello
from schemas.codec import encode
from tests.faults.full_size import sized
from tests.faults.memory_gateway import MemoryGateway, handshake, masked
from tests.faults.raw_websocket import BINARY, CLOSE, CONTINUATION, FIN, PING, PONG, TEXT, RawWebsocket, raw_frame
from tests.integration.gateway_line import WireClient, answer_events, token_for
from tests.integration.process_probe import resident_mb

SESSION = "s1"
FRAME_BYTES_MAX = 65_536
RESERVED_BIT = 0x40
STALL_S_MAX = 0.05
GROWTH_MB_MAX = 1.0
WARM_UP_FLOODS = 3


@asynccontextmanager
async def gateway_with_bystander(home: Path) -> AsyncIterator[tuple[MemoryGateway, WireClient]]:
    """A gateway, and a client on it that must notice nothing: it is told an answer once the test is done."""
    async with MemoryGateway.opened(home) as gateway, WireClient.connected(gateway.port) as bystander:
        await bystander.send(Attach(session=SESSION))
        await bystander.next("attached")
        yield gateway, bystander


@pytest.mark.parametrize(
    ("code", "frames"),
    [
        pytest.param(1009, [raw_frame(FIN | TEXT, length=FRAME_BYTES_MAX + 1)], id="oversize"),
        pytest.param(1009, [raw_frame(FIN | TEXT, length=2**62)], id="claims_exabytes"),
        pytest.param(
            1009,
            [raw_frame(TEXT, b"x" * 1_000), *[raw_frame(CONTINUATION, b"x" * 1_000)] * 100],
            id="fragments_beyond_the_limit",
        ),
        pytest.param(1009, [raw_frame(TEXT), raw_frame(CONTINUATION) * 2_000], id="empty_fragments_without_end"),
        pytest.param(1002, [raw_frame(FIN | PING, b"x" * 126)], id="control_frame_of_126"),
        pytest.param(1002, [raw_frame(PING, b"x")], id="fragmented_control_frame"),
        pytest.param(1007, [raw_frame(FIN | TEXT, b'"\xc3\x28"')], id="bad_utf8"),
        pytest.param(1007, [raw_frame(FIN | TEXT, b'"\xed\xa0\x80"')], id="surrogate_in_utf8"),
        pytest.param(1002, [raw_frame(FIN | TEXT, b"{}", masked=False)], id="unmasked"),
        pytest.param(1002, [raw_frame(FIN | RESERVED_BIT | TEXT, b"{}")], id="reserved_bit"),
        pytest.param(1002, [raw_frame(FIN | 0x3, b"{}")], id="reserved_opcode"),
        pytest.param(1002, [raw_frame(FIN | CONTINUATION, b"{}")], id="continuation_of_nothing"),
        pytest.param(1002, [raw_frame(TEXT, b"{"), raw_frame(FIN | TEXT, b"}")], id="text_inside_a_text"),
        pytest.param(1002, [raw_frame(FIN | CLOSE, b"x")], id="close_of_one_byte"),
        pytest.param(1002, [raw_frame(FIN | CLOSE, (1005).to_bytes(2, "big"))], id="close_with_a_forbidden_code"),
        pytest.param(1000, [raw_frame(FIN | CLOSE, (1000).to_bytes(2, "big"))], id="good_close"),
    ],
)
async def test_G8_frames_that_break_the_rules(tmp_path: Path, code: int, frames: list[bytes]) -> None:
    """The close code that the standard names; a neighbour is told its answer."""
    async with (
        gateway_with_bystander(tmp_path) as (gateway, bystander),
        RawWebsocket.connected(gateway.port) as peer,
    ):
        await peer.send(*frames)
        got = await peer.close_code()
        await gateway.append(SESSION, answer_events("t1", ["fine"]))

        assert got == code
        assert (await bystander.until("end")).reason == "complete"


async def test_G8_message_in_many_fragments(tmp_path: Path) -> None:
    """Fragments with a ping between them are one message: what is allowed is served."""
    wish = encode(Attach(session=SESSION))
    async with gateway_with_bystander(tmp_path) as (gateway, _), RawWebsocket.connected(gateway.port) as peer:
        first, *middle = [wish[place : place + 1] for place in range(len(wish))]
        await peer.send(raw_frame(TEXT, first), raw_frame(FIN | PING, b"between"))
        await peer.send(*(raw_frame(CONTINUATION, piece) for piece in middle), raw_frame(FIN | CONTINUATION))
        pong = await peer.until(PONG)
        while b'"attached"' not in (await peer.until(TEXT)).payload:
            pass

        assert pong.payload == b"between"


async def test_G8_compression_offered(tmp_path: Path) -> None:
    """No extension is agreed to: a compressed frame, small on the wire and huge in memory, can't exist here."""
    async with (
        gateway_with_bystander(tmp_path) as (gateway, _),
        RawWebsocket.connected(gateway.port, extensions="permessage-deflate; client_max_window_bits") as peer,
    ):
        assert b"101 " in peer.handshake.splitlines()[0]
        assert b"extensions" not in peer.handshake.lower()


async def test_G8_floods_of_pings_and_fragments_cost_no_memory(tmp_path: Path) -> None:
    """Peers that ping without reading, or send empty fragments: less than 1 MB once one has been, neighbours served."""
    async with gateway_with_bystander(tmp_path) as (gateway, bystander):
        for _ in range(WARM_UP_FLOODS):  # the allocator's pools grow to what one flood needs at a time
            await flood(gateway.port)
        gc.collect()
        before_mb = resident_mb(os.getpid())
        async with RawWebsocket.connected(gateway.port) as pinging, RawWebsocket.connected(gateway.port) as splitting:
            await flood_with(pinging, splitting)
            await gateway.append(SESSION, answer_events("t1", ["fine"]))
            end = await bystander.until("end")
            gc.collect()
            grown_mb = resident_mb(os.getpid()) - before_mb

        assert end.reason == "complete"
        assert grown_mb < GROWTH_MB_MAX


async def flood(port: int) -> None:
    async with RawWebsocket.connected(port) as pinging, RawWebsocket.connected(port) as splitting:
        await flood_with(pinging, splitting)


async def flood_with(pinging: RawWebsocket, splitting: RawWebsocket) -> None:
    await splitting.send(raw_frame(TEXT))
    for _ in range(sized(20, 200)):
        await pinging.send(raw_frame(FIN | PING, b"x" * 8) * 1_000)
        await splitting.send(raw_frame(CONTINUATION) * 1_000)
    await pinging.send(raw_frame(FIN | PING, b"last"))
    assert await splitting.close_code() == 1009
    while (await pinging.frame()).payload != b"last":
        pinging.frames.clear()


BAD_TEXTS = [
    pytest.param("{" * 30_000, id="unfinished_objects"),
    pytest.param("[" * 60_000, id="depth_bomb"),
    pytest.param('{"a":' * 10_000 + "1" + "}" * 10_000, id="deep_and_whole"),
    pytest.param(
        '{"type":"prompt","session":"s1","prompt_id":"p","max_tokens":' + "9" * 60_000 + "}", id="huge_integer"
    ),
    pytest.param('{"type":"prompt","session":"s1","prompt_id":"p","temperature":NaN}', id="not_a_number"),
    pytest.param('{"type":"prompt","session":"s1","prompt_id":"p","temperature":1e999}', id="infinite"),
    pytest.param('{"type":"attach","session":"\\ud800"}', id="lone_surrogate"),
    pytest.param('{"type":"attach","session":"a\\u0000b"}', id="nul_in_a_session"),
    pytest.param('{"type":"attach","session":"s1","from":"' + "A" * 60_000 + '"}', id="huge_cursor"),
    pytest.param("", id="nothing"),
    pytest.param("null", id="null"),
    pytest.param('{"type":"attach","session":"s1"} trailing', id="words_behind"),
]


@pytest.mark.parametrize("text", BAD_TEXTS)
async def test_G9_json_that_breaks_the_rules(tmp_path: Path, text: str) -> None:
    """An error that does not repeat it, the connection stays, and the loop never stands still for 50 ms."""
    async with gateway_with_bystander(tmp_path) as (gateway, _), WireClient.connected(gateway.port) as client:
        began_s = time.thread_time()
        await client.send_raw(text)
        error = await client.next("error")
        spent_s = time.thread_time() - began_s
        await client.send(Attach(session="other"))
        await client.next("attached")

        assert len(error.message) < 500
        assert spent_s < STALL_S_MAX


async def test_G9_duplicate_keys(tmp_path: Path) -> None:
    """The last one counts, as everywhere; nothing is taken from both."""
    async with gateway_with_bystander(tmp_path) as (gateway, _), WireClient.connected(gateway.port) as client:
        await client.send_raw('{"type":"attach","session":"one","session":"two"}')

        assert (await client.next("attached")).session == "two"


async def test_G9_binary_frames_are_strikes(tmp_path: Path) -> None:
    """The third ends the connection with 4400."""
    async with gateway_with_bystander(tmp_path) as (gateway, _), RawWebsocket.connected(gateway.port) as peer:
        await peer.send(*[raw_frame(FIN | BINARY, b"\x00\x01")] * 3)

        assert await peer.close_code() == 4400


async def test_S12_markup_and_escapes_in_an_answer_travel_as_json(tmp_path: Path) -> None:
    """Control characters are escaped on the wire, so no terminal that shows a frame obeys it; the text is the same."""
    text = '\x1b]0;owned\x07\x1b[2J<script>alert("x")</script>\u202e\u2028\x00'
    async with (
        gateway_with_bystander(tmp_path) as (gateway, _),
        RawWebsocket.connected(gateway.port, user="alice") as peer,
    ):
        await peer.send(raw_frame(FIN | TEXT, encode(Attach(session=SESSION))))
        while b'"attached"' not in (await peer.until(TEXT)).payload:
            pass
        await gateway.append(SESSION, answer_events("t1", [text]))
        while b'"delta"' not in (frame := await peer.until(TEXT)).payload:
            pass
        told = json.loads(frame.payload)
        messages = told if isinstance(told, list) else [told]

        assert not any(byte < 32 for byte in frame.payload)
        assert [message["text"] for message in messages if message["type"] == "delta"] == [text]


@pytest.mark.parametrize("early", [0, 1, 2, 3, 40, -1])
async def test_client_that_does_not_await_the_handshake(tmp_path: Path, early: int) -> None:
    """Some, none or all of its hello comes in one segment with its request: it is let in, and the request let go of."""
    hello = masked(encode(Hello(token=token_for("alice"))))
    at = len(hello) if early < 0 else early
    async with MemoryGateway.opened(tmp_path) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(handshake(gateway.port) + hello[:at])
        await reader.readuntil(b"\r\n\r\n")
        writer.write(hello[at:])
        async with asyncio.timeout(5):
            told = await reader.readuntil(b"simulated")
        (connection,) = gateway.gateway.connections
        parsing = getattr(connection.socket.protocol.parser, "__qualname__", "")
        writer.close()
        await writer.wait_closed()

    assert b'"user":"alice"' in told
    assert connection.socket.request is FORGOTTEN_REQUEST
    assert (parsing == "Protocol.parse") == (at in (0, len(hello)))


async def test_fault_of_ours_costs_one_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told so, closed with 4500, may come back; its neighbour goes on."""
    attach = SessionAttachments.attach

    async def faulty(self: SessionAttachments, session: str, *arguments: Any, **named: Any) -> bool:
        if session == "faulty":
            raise LookupError("a fault of ours")
        return await attach(self, session, *arguments, **named)

    monkeypatch.setattr(SessionAttachments, "attach", faulty)
    async with (
        MemoryGateway.opened(tmp_path) as gateway,
        WireClient.connected(gateway.port) as unlucky,
        WireClient.connected(gateway.port, "bob") as neighbour,
    ):
        await unlucky.send(Attach(session="faulty"))
        code, words = await unlucky.closed()
        await neighbour.send(Attach(session="fine"))
        await neighbour.next("attached")

    assert code == 4500
    assert words is not None
    assert words.reconnect
