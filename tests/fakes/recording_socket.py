"""A websocket that keeps what it is given and drains only when the test lets it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from schemas.codec import decode_server_messages
from schemas.gateway_messages import ServerMessage

__all__ = ["RecordingSocket"]


class RecordingSocket:
    """A `FrameSocket`. Blocks above `high_bytes` until `drain`; flows freely unless `slow`."""

    def __init__(self, *, high_bytes: int = 1_000, slow: bool = False) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.paused = False
        self.on_writable: Callable[[], None] | None = None
        self.is_open = True
        self.high_bytes = high_bytes
        self.slow = slow
        self.held_bytes = 0
        self.frames: list[bytes] = []
        self.closed_with: int | None = None

    @property
    def told(self) -> list[ServerMessage]:
        """Every message written, in order."""
        return [message for frame in self.frames for message in decode_server_messages(frame)]

    def unsent_bytes(self) -> int:
        """What is not drained yet."""
        return self.held_bytes

    def write_wire(self, frame: bytes) -> None:
        """Take a frame."""
        assert self.is_open
        self.frames.append(payload_of(frame))
        if self.slow:
            self.held_bytes += len(frame)
            self.paused = self.held_bytes > self.high_bytes

    def write_close(self, code: int, reason: str) -> None:
        """The last thing that is written."""
        self.is_open = False
        self.closed_with = code

    def drain(self) -> None:
        """The client reads everything."""
        self.held_bytes = 0
        if self.paused:
            self.paused = False
            if self.on_writable is not None:
                self.on_writable()


def payload_of(wire: bytes) -> bytes:
    """What a whole unmasked text frame holds, its length checked."""
    assert wire[0] == 0x81
    short = wire[1]
    length, start = short, 2
    if short == 126:
        length, start = int.from_bytes(wire[2:4], "big"), 4
        assert length >= 126
    elif short == 127:
        length, start = int.from_bytes(wire[2:10], "big"), 10
        assert length >= 65_536
    assert len(wire) == start + length
    return wire[start:]
