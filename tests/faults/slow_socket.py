"""A websocket client on a plain socket that takes what it is sent at a rate of its own, and keeps none of it."""

from __future__ import annotations

import asyncio
import socket as sockets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

from schemas.client_messages import SUBPROTOCOL, ClientMessage, Pong
from schemas.codec import encode

__all__ = ["SlowSocket", "handshake"]

NARROW_BYTES = 4_096
"""Receive buffer: what is not read soon waits at the gateway."""
STEP_S = 0.25
PONG_EVERY_STEPS = 8


class SlowSocket:
    """Connected and past the handshake. It says that it is there without having read that it was asked."""

    def __init__(self, raw: sockets.socket) -> None:
        self.raw = raw
        self.read_bytes = 0
        self.closed = False

    async def send(self, message: ClientMessage) -> None:
        """Send one message."""
        await asyncio.get_running_loop().sock_sendall(self.raw, masked(encode(message)))

    async def read_slowly(self, bytes_per_s: int) -> None:
        """Take in so much a second until the other side closes, or for ever."""
        loop, steps = asyncio.get_running_loop(), 0
        while not self.closed:
            await asyncio.sleep(STEP_S)
            steps += 1
            try:
                if steps % PONG_EVERY_STEPS == 0:
                    await self.send(Pong())
                taken = await loop.sock_recv(self.raw, max(1, round(bytes_per_s * STEP_S)))
            except OSError:
                taken = b""
            self.read_bytes += len(taken)
            self.closed = not taken

    @classmethod
    @asynccontextmanager
    async def connected(cls, port: int) -> AsyncIterator[SlowSocket]:
        """Connected to a gateway on this machine."""
        loop = asyncio.get_running_loop()
        raw = sockets.socket()
        raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, NARROW_BYTES)
        raw.setblocking(False)
        with closing(raw):
            await loop.sock_connect(raw, ("127.0.0.1", port))
            await loop.sock_sendall(raw, handshake(port))
            answer = b""
            while b"\r\n\r\n" not in answer:
                answer += await loop.sock_recv(raw, 1)
            assert b" 101 " in answer.splitlines()[0]
            yield cls(raw)


def handshake(port: int) -> bytes:
    return (
        f"GET /v1/connect HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
    ).encode()


def masked(payload: bytes) -> bytes:
    """A client's text frame; its mask is zero."""
    length = bytes((0x80 | len(payload),)) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
    return b"\x81" + length + bytes(4) + payload
