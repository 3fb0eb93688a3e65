"""A websocket client that keeps nothing but accounts: which tokens came, which did not, which came twice, and when.

Of each answer it knows the number of the token that is due. A delta that begins further on leaves a *hole*, one that
begins earlier brings *duplicates*; what it received is what came for the first time. A record has been received when
its last token has. A cut client comes back with its cursor and goes on counting.

Three kinds: `normal` reads whatever comes; `still` stops reading once it is attached; `slow` reads 1 KB/s.
"""

from __future__ import annotations

import asyncio
import re
import socket as sockets
import time
from array import array
from typing import Any, Final, Literal, TypeAlias, cast

import msgspec

from benchmarks.gateway.load import SECRET, SESSION, TOKEN_BYTES
from infra.access_tokens import issue_token
from schemas.client_messages import SUBPROTOCOL, Attach, ClientMessage, Hello, Pong
from schemas.codec import encode

__all__ = ["DELTA", "BareClient", "Kind", "Refused", "masked", "messages_of"]

Kind: TypeAlias = Literal["normal", "still", "slow"]

SLOW_BYTES_PER_S: Final = 1_024
NARROW_BYTES: Final = 4_096
"""Receive buffer of those that do not keep up: what they do not read waits at the gateway."""
PONG_EVERY_S: Final = 10.0
"""Who reads slowly says unasked that it is there: the question comes late."""
TOKEN_S: Final = 86_400.0
DELTA: Final = re.compile(
    rb'"type":"delta","session":"[^"]*","turn":"([^"]*)","attempt":\d+,"seq":(\d+),"n":(\d+),"text":"([^"]*)"'
)
CURSOR: Final = b'"c":"'
CURSOR_END: Final = b'"'
MESSAGE: Final = b'"type":"'
PING: Final = b'"type":"ping"'
END: Final = b'"type":"end"'
ATTACHED: Final = b'"type":"attached"'
SNAPSHOT: Final = b'"type":"snapshot"'
DISCONNECT: Final = b'"type":"disconnect"'
TEXT_BYTE: Final = 0x81
CLOSE_BYTE: Final = 0x88
PING_BYTE: Final = 0x89
"""The protocol's own; this gateway's pings are messages."""
PONG_BYTE: Final = 0x8A


class Refused(ConnectionError):
    """Closed before it was attached."""


class BareClient(asyncio.Protocol):
    """One client over all its connections."""

    def __init__(self, user: str, number: int, kind: Kind, port: int) -> None:
        self.user, self.number, self.kind, self.port = user, number, kind, port
        self.samples: array[int] | None = None
        """Where (record, microseconds since 1970) of received records goes; None: not noted."""
        self.streaming = self.tokens_per_record = 1
        self.cursor = self.head = ""
        self.recovered = ""
        """How the last attach was answered."""
        self.loop = asyncio.get_running_loop()
        self.reads_freely = kind == "normal"
        self.transport: asyncio.Transport | None = None
        self.pong_timer: asyncio.TimerHandle | None = None
        self.frames = self.bytes_read = 0
        self.expect("")

    # ---- Accounts

    def expect(self, turn: str, streaming: int = 1, tokens_per_record: int = 1, token_bytes: int = TOKEN_BYTES) -> None:
        """Count an answer from its beginning."""
        self.token_bytes = token_bytes
        self.turn = turn.encode()
        self.streaming, self.tokens_per_record = streaming, tokens_per_record
        self.next_seq = self.received = self.records = self.holes = self.duplicates = self.wrong = 0
        self.by_snapshot = 0
        """Of the received tokens, those that a snapshot told."""
        self.close_code = self.returns = 0
        self.told_cursor = False
        """Whether the gateway's last words held a cursor."""
        self.ended = asyncio.Event()
        self.gone = asyncio.Event()
        if self.transport is None or self.transport.is_closing():
            self.gone.set()

    def take(self, payload: bytes) -> None:
        """One frame's payload."""
        self.frames += 1
        now_us = time.time_ns() // 1_000
        deltas = 0
        for found in DELTA.finditer(payload):
            deltas += 1
            if found[1] == self.turn:
                self.count(int(found[2]), int(found[3]), now_us)
                self.wrong += len(found[4]) != int(found[3]) * self.token_bytes
        if (place := payload.rfind(CURSOR)) >= 0:
            begins = place + len(CURSOR)
            self.cursor = payload[begins : payload.index(CURSOR_END, begins)].decode()
        if payload.count(MESSAGE) != deltas:
            self.take_rare(payload, now_us)

    def count(self, seq: int, tokens: int, now_us: int) -> None:
        """Tokens `seq` … `seq + tokens - 1` came."""
        ends, due, per_record = seq + tokens, self.next_seq, self.tokens_per_record
        self.holes += max(0, seq - due)
        self.duplicates += max(0, min(ends, due) - seq)
        first = max(seq, due)
        if ends <= first:
            return
        self.received += ends - first
        self.next_seq = ends
        whole_from = -(-seq // per_record) if seq > due else due // per_record
        for record in range(whole_from, ends // per_record):
            self.records += 1
            if self.samples is not None:
                self.samples.append(record * self.streaming + self.number)
                self.samples.append(now_us)

    def take_rare(self, payload: bytes, now_us: int) -> None:
        if PING in payload:
            self.say(Pong())
        if END in payload and b'"turn":"%b"' % self.turn in payload[payload.index(END) :]:
            self.ended.set()
        if ATTACHED in payload and not self.attached.done():
            message = next(each for each in messages_of(payload) if each["type"] == "attached")
            self.head, self.recovered = message["head"], message["recovered"]
            self.attached.set_result(None)
            if not self.reads_freely:
                self.slow_down()
        if SNAPSHOT in payload:
            self.take_snapshot(payload, now_us)
        if DISCONNECT in payload:
            message = next(each for each in messages_of(payload) if each["type"] == "disconnect")
            self.close_code = message["code"]
            if cursor := message.get("cursors", {}).get(SESSION):
                self.cursor, self.told_cursor = cursor, True

    def take_snapshot(self, payload: bytes, now_us: int) -> None:
        for message in messages_of(payload):
            if message["type"] == "snapshot":
                for turn in message["turns"]:
                    if turn["turn"].encode() == self.turn and turn.get("next_seq", 0) > self.next_seq:
                        self.by_snapshot += turn["next_seq"] - self.next_seq
                        self.count(self.next_seq, turn["next_seq"] - self.next_seq, now_us)
                        if turn.get("reason"):
                            self.ended.set()

    # ---- Connections

    async def connect(self) -> None:
        """Connect and attach: at the cursor where there is one. Raises Refused, OSError."""
        raw = sockets.socket()
        raw.setblocking(False)
        if not self.reads_freely:
            raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, NARROW_BYTES)
        self.attached: asyncio.Future[None] = self.loop.create_future()
        try:
            await self.loop.sock_connect(raw, ("127.0.0.1", self.port))
            await self.loop.create_connection(lambda: self, sock=raw)
        except BaseException:
            raw.close()
            raise
        await self.attached

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        self.returns += bool(self.recovered)
        self.transport = cast(asyncio.Transport, transport)
        self.pending, self.upgraded = b"", False
        self.gone.clear()
        self.transport.write(
            f"GET /v1/connect HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n".encode()
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """What is missing shows in the accounts."""
        if self.pong_timer is not None:
            self.pong_timer.cancel()
        self.gone.set()
        if not self.attached.done():
            self.attached.set_exception(Refused(f"closed before it was attached ({self.close_code})"))

    def data_received(self, data: bytes) -> None:
        """Take frames apart; a server's are not masked."""
        self.bytes_read += len(data)
        if not self.reads_freely and self.attached.done():
            self.rest(len(data))
        data = self.pending + data if self.pending else data
        if not self.upgraded:
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self.pending = head
                return
            self.upgraded = True
            self.greet()
        place = 0
        while len(data) - place >= 2:
            length, begins = data[place + 1], place + 2
            if length == 126:
                length, begins = int.from_bytes(data[place + 2 : place + 4], "big"), place + 4
            elif length == 127:
                length, begins = int.from_bytes(data[place + 2 : place + 10], "big"), place + 10
            if len(data) < begins + length:
                break
            if data[place] == CLOSE_BYTE:
                self.close_code = int.from_bytes(data[begins : begins + 2], "big")
            elif data[place] == PING_BYTE:
                self.write(masked(data[begins : begins + length], opcode=PONG_BYTE))
            else:
                self.take(data[begins : begins + length])
            place = begins + length
        self.pending = data[place:]

    def greet(self) -> None:
        token = issue_token(SECRET.encode(), self.user, ttl_s=TOKEN_S, now_s=time.time())
        if self.cursor or self.head:
            self.say(Hello(token=token, resume={SESSION: self.cursor or self.head}))
        else:
            self.say(Hello(token=token))
            self.say(Attach(session=SESSION))

    def say(self, message: ClientMessage) -> None:
        """Send a message."""
        self.write(masked(encode(message)))

    def write(self, frame: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(frame)

    def cut(self) -> None:
        """End the connection without a word, as a lost network does."""
        if self.transport is not None:
            self.transport.abort()

    # ---- Pace

    def slow_down(self) -> None:
        assert self.transport is not None
        self.transport.pause_reading()
        if self.kind == "slow":
            self.loop.call_later(1.0, self.read_on)
            self.pong_timer = self.loop.call_later(PONG_EVERY_S, self.say_still_here)

    def rest(self, read_bytes: int) -> None:
        assert self.transport is not None
        self.transport.pause_reading()
        if self.kind == "slow":
            self.loop.call_later(read_bytes / SLOW_BYTES_PER_S, self.read_on)

    def read_on(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def say_still_here(self) -> None:
        self.say(Pong())
        self.pong_timer = self.loop.call_later(PONG_EVERY_S, self.say_still_here)

    def unleash(self) -> None:
        """From now on read whatever comes."""
        self.reads_freely = True
        self.read_on()


def messages_of(payload: bytes) -> list[dict[str, Any]]:
    """The messages of a frame."""
    said = msgspec.json.decode(payload)
    return said if isinstance(said, list) else [said]


def masked(payload: bytes, opcode: int = TEXT_BYTE) -> bytes:
    """A client's frame, masked with zeros."""
    length = bytes((0x80 | len(payload),)) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
    return bytes((opcode,)) + length + bytes(4) + payload
