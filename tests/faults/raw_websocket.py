"""A websocket peer that sends any bytes it likes, well-formed or not, and tells how it was answered."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from schemas.client_messages import SUBPROTOCOL, Hello
from schemas.codec import encode
from tests.integration.gateway_line import token_for

__all__ = ["BINARY", "CLOSE", "CONTINUATION", "FIN", "PING", "PONG", "TEXT", "RawFrame", "RawWebsocket", "raw_frame"]

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
FIN = 0x80
MASKED = 0x80
ANSWER_S = 10.0


@dataclass(frozen=True, slots=True)
class RawFrame:
    """A frame as the gateway sent it."""

    first_byte: int
    payload: bytes

    @property
    def opcode(self) -> int:
        """What kind of frame it is."""
        return self.first_byte & 0x0F


def raw_frame(first_byte: int, payload: bytes = b"", *, masked: bool = True, length: int | None = None) -> bytes:
    """A frame with any first byte (FIN, reserved bits, opcode). `length`: what its header claims, if not the truth."""
    claimed = len(payload) if length is None else length
    bit = MASKED if masked else 0
    if claimed < 126:
        header = bytes((first_byte, bit | claimed))
    elif claimed < 65_536:
        header = bytes((first_byte, bit | 126)) + claimed.to_bytes(2, "big")
    else:
        header = bytes((first_byte, bit | 127)) + claimed.to_bytes(8, "big")
    return header + (bytes(4) if masked else b"") + payload


@dataclass(slots=True)
class RawWebsocket:
    """One connection past the handshake."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    handshake: bytes
    """The gateway's answer to the upgrade."""
    frames: list[RawFrame] = field(default_factory=list)
    """All that was received, in order."""

    async def send(self, *pieces: bytes) -> None:
        """Write bytes as they are; a gateway that has closed is no fault of the test."""
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                self.writer.write(piece)
                await self.writer.drain()

    async def frame(self) -> RawFrame:
        """The next frame. Raises IncompleteReadError at the end, TimeoutError."""
        async with asyncio.timeout(ANSWER_S):
            first_byte, length = await self.reader.readexactly(2)
            if length == 126:
                length = int.from_bytes(await self.reader.readexactly(2), "big")
            elif length == 127:
                length = int.from_bytes(await self.reader.readexactly(8), "big")
            received = RawFrame(first_byte, await self.reader.readexactly(length))
        self.frames.append(received)
        return received

    async def until(self, opcode: int) -> RawFrame:
        """The next frame of a kind."""
        while (received := await self.frame()).opcode != opcode:
            pass
        return received

    async def close_code(self) -> int | None:
        """Read to the end: the code of the close frame; None where the connection was cut without one."""
        try:
            return int.from_bytes((await self.until(CLOSE)).payload[:2], "big")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    @classmethod
    @asynccontextmanager
    async def connected(
        cls, port: int, *, user: str | None = "mallory", extensions: str = ""
    ) -> AsyncIterator[RawWebsocket]:
        """Upgraded, and with a user also past `hello` (but nothing has been read yet)."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            offered = f"Sec-WebSocket-Extensions: {extensions}\r\n" if extensions else ""
            writer.write(
                f"GET /v1/connect HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
                f"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {SUBPROTOCOL}\r\n{offered}\r\n".encode()
            )
            async with asyncio.timeout(ANSWER_S):
                peer = cls(reader, writer, await reader.readuntil(b"\r\n\r\n"))
            if user is not None:
                await peer.send(raw_frame(FIN | TEXT, encode(Hello(token=token_for(user)))))
            yield peer
        finally:
            writer.transport.abort()
