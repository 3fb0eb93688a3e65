"""What one client is sent: messages queue here, are joined into frames and written as the socket takes them.

No task and no lock: whoever has something to say queues it, and one callback at the end of the loop's round writes
everything that came together as one array frame. While the socket is blocked nothing is written; it goes on when the
socket says so. The byte accounts (`decisions/client_outbox.py`) decide when a client is too slow.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol, assert_never

from gateway.decisions.client_outbox import ClientOutbox, Evict, Held, OutboxState, Send
from gateway.decisions.session_messages import HubMessage
from schemas.client_messages import ServerMessage
from schemas.codec import encode

__all__ = ["FRAME_BYTES_MAX", "ClientWriter", "CursorHolder", "FrameSocket"]

FRAME_BYTES_MAX: Final = 65_536


class FrameSocket(Protocol):
    """A websocket that takes ready-made frames (`gateway.client_socket.ClientSocket`)."""

    loop: asyncio.AbstractEventLoop
    paused: bool
    on_writable: Callable[[], None] | None

    @property
    def is_open(self) -> bool:
        """Whether messages can still be written."""
        ...

    def unsent_bytes(self) -> int:
        """Bytes taken and not yet given to the kernel."""
        ...

    def write_frame(self, frame: bytes) -> None:
        """Write a text frame now."""
        ...

    def write_close(self, code: int, reason: str) -> None:
        """Write the close frame now."""
        ...


class CursorHolder(Protocol):
    """Whoever keeps account of what was really written."""

    written_cursor: str


class ClientWriter:
    """The way out to one client."""

    __slots__ = ("flush_due", "frames", "on_slow", "outbox", "queue", "socket", "waiters")

    def __init__(self, socket: FrameSocket, outbox: ClientOutbox, on_slow: Callable[[], None]) -> None:
        self.socket = socket
        self.outbox = outbox
        self.on_slow = on_slow
        self.queue: deque[tuple[bytes, CursorHolder | None, str]] = deque()
        self.flush_due = False
        self.frames = 0
        """Frames written, for the shell's metrics."""
        self.waiters: list[asyncio.Future[None]] = []
        socket.on_writable = self.flush

    def send(self, message: ServerMessage) -> None:
        """Say something of our own."""
        self.offer(encode(message), None, "")

    def send_encoded(self, payload: bytes, holder: CursorHolder, cursor: str) -> None:
        """Say something that leaves the client at `cursor`."""
        self.offer(payload, holder, cursor)

    def tell(self, holder: CursorHolder, messages: Sequence[HubMessage]) -> None:
        """Pass a session's messages on."""
        for message in messages:
            self.offer(message.payload, holder, message.cursor)

    def offer(self, payload: bytes, holder: CursorHolder | None, cursor: str) -> None:
        match self.outbox.offer(len(payload)):
            case Send() | Held():
                self.queue.append((payload, holder, cursor))
                if not self.flush_due and not self.socket.paused:
                    self.flush_due = True
                    self.socket.loop.call_soon(self.flush)
            case Evict():
                self.on_slow()
            case unreachable:
                assert_never(unreachable)

    def flush(self) -> None:
        """Write what waits, as far as the socket takes it."""
        self.flush_due = False
        while self.queue and not self.socket.paused and self.socket.is_open:
            self.write_one_frame()
        self.observe()

    def write_one_frame(self) -> None:
        queue = self.queue
        payload, holder, cursor = queue.popleft()
        payloads, size = [payload], len(payload)
        if holder is not None:
            holder.written_cursor = cursor
        while queue and size + len(queue[0][0]) + len(payloads) + 2 <= FRAME_BYTES_MAX:
            payload, holder, cursor = queue.popleft()
            payloads.append(payload)
            size += len(payload)
            if holder is not None:
                holder.written_cursor = cursor
        self.socket.write_frame(payloads[0] if len(payloads) == 1 else b"[" + b",".join(payloads) + b"]")
        self.frames += 1
        self.outbox.written(size, socket_bytes=self.socket.unsent_bytes())

    def observe(self) -> None:
        """Look at what the socket still holds, and let those go on who wait for room."""
        self.outbox.observe(self.socket.unsent_bytes())
        if self.waiters and self.outbox.state is not OutboxState.HELD:
            for waiter in self.waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self.waiters.clear()

    async def until_flowing(self) -> None:
        """Wait until the client has caught up with most of what it is owed. The connection's deadlines bound this.

        Cancellation: nothing has happened.
        """
        while self.outbox.state is OutboxState.HELD:
            waiter = self.socket.loop.create_future()
            self.waiters.append(waiter)
            await waiter

    def last_words(self, message: ServerMessage, code: int, reason: str) -> None:
        """Drop what waits and say why the connection ends, even through a blocked socket."""
        self.queue.clear()
        self.outbox.written(self.outbox.queued_bytes, socket_bytes=self.socket.unsent_bytes())
        if self.socket.is_open:
            self.socket.write_frame(encode(message))
            self.socket.write_close(code, reason)
