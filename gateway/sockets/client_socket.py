"""The websocket as the gateway uses it: ready-made text frames, written without a task and without waiting.

`websockets` awaits the drain of every `send`; a relay must instead know when writing is blocked, hold back, and go on
when the socket has drained. This subclass passes those two moments on and writes frames directly, which also costs
half the time. Nothing here is fragmented, so frames never interleave.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import math
import struct
import termios
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, cast

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.exceptions import InvalidMessage
from websockets.frames import DATA_OPCODES, Frame
from websockets.http11 import Request, Response
from websockets.protocol import Event, Protocol, State
from websockets.server import ServerProtocol
from websockets.streams import StreamReader

from gateway.sockets.doorway import ComeIn, Doorway, ShutOut, TurnAway
from infra.access_tokens import VerifiedToken
from schemas.close_codes import OVERSIZE

__all__ = ["ClientSocket"]

OVERRUN_BYTES: Final = 1_048_576
"""Never reached by what we say: a connection's cap and the largest message are well below it."""
FRAGMENTS_MAX: Final = 1_024
"""Frames that one message may come in: `max_size` counts their bytes, and empty ones have none."""
TURNED_AWAY: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: %d\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
)
TURN_AWAY_S: Final = 1.0
NOT_READ_WORDS: Final = b"a request is read here as HTTP/1.1 without TLS and without a body\n"
NOT_READ: Final = (
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(NOT_READ_WORDS), NOT_READ_WORDS)
)
"""What is answered where `websockets` gives up on a request and only closes."""
QUEUE_LENGTH: Final = struct.Struct("i")
SOCKETS_LOG: Final = logging.getLogger("websockets.server")


class FrameQueue:
    """What `websockets` needs of a deque for the frames that came in; empty, as nearly always, it holds none.

    An empty deque has a block for 64 entries, 0.6 KB a connection.
    """

    __slots__ = ("frames",)

    def __init__(self) -> None:
        self.frames: deque[Frame] | None = None

    def __len__(self) -> int:
        return 0 if self.frames is None else len(self.frames)

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.frames or ())

    def append(self, frame: Frame) -> None:
        """At the end."""
        if self.frames is None:
            self.frames = deque()
        self.frames.append(frame)

    def extendleft(self, frames: Iterable[Frame]) -> None:
        """At the front, one after the other."""
        kept = deque() if self.frames is None else self.frames
        kept.extendleft(frames)
        self.frames = kept or None

    def popleft(self) -> Frame:
        """The first one. Raises IndexError."""
        if self.frames is None:
            raise IndexError("there is no frame")
        frame = self.frames.popleft()
        if not self.frames:
            self.frames = None
        return frame

    def clear(self) -> None:
        """Drop all."""
        self.frames = None


FORGOTTEN_REQUEST: Final = Request("", Headers())
FORGOTTEN_RESPONSE: Final = Response(101, "Switching Protocols", Headers())
"""In place of those that let a client in; `websockets` looks only whether there are any."""


class ClientSocket(ServerConnection):
    """One client's websocket.

    Its own fields are slots: beyond thirty, Python no longer keeps the names of an object's fields for all objects of
    the class together, which takes 1.2 KB more of each.
    """

    __slots__ = (
        "blocked_at_s",
        "doorway",
        "fragments",
        "header_token",
        "is_inside",
        "leaving",
        "on_unblocked",
        "on_writable",
        "turned_away",
    )

    def __init__(self, *arguments: Any, doorway: Doorway, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.drain_waiters = []  # type: ignore[assignment]  # used as a list is, and an empty deque takes 0.6 KB
        self.doorway = doorway
        self.is_inside = False
        self.turned_away = b""
        """What is answered to the request of a socket for which there is no room."""
        self.leaving: asyncio.TimerHandle | None = None
        self.header_token: VerifiedToken | None = None
        """Who the `Authorization` header named, if it did."""
        self.on_writable: Callable[[], None] | None = None
        self.on_unblocked: Callable[[float], None] | None = None
        """Told for how many seconds nothing could be written."""
        self.blocked_at_s: float | None = None
        """Since when (loop time) nothing can be written."""
        self.fragments = 0
        """Frames of the message that is coming in."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A socket was accepted: begin the handshake, or turn it away."""
        match self.doorway.enter(self):
            case ComeIn():
                self.is_inside = True
                super().connection_made(transport)
                self.recv_messages.frames.queue = FrameQueue()  # type: ignore[assignment]  # what it needs of one
            case TurnAway(retry_after_s):
                # Its request is awaited, not for long: clients take an answer that comes before it for a fault.
                self.transport = cast(asyncio.Transport, transport)
                self.turned_away = TURNED_AWAY % math.ceil(retry_after_s)
                self.leaving = self.loop.call_later(TURN_AWAY_S, self.abort)
            case ShutOut():
                self.transport = cast(asyncio.Transport, transport)
                self.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes came. Whoever asks for more answers than it reads (pings need no message) is dropped."""
        if self.turned_away:
            self.transport.write(self.doorway.answer_outside(data) or self.turned_away)
            self.transport.close()
            self.turned_away = b""
        elif self.is_inside and self.unsent_bytes() > OVERRUN_BYTES:
            self.abort()
        elif self.is_inside:
            super().data_received(data)

    def send_data(self) -> None:
        """Write what the protocol has to say. Before it ends a request that it could not read, say so."""
        failed = self.protocol.handshake_exc
        if failed is not None and self.protocol.writes and is_not_read(failed):
            self.transport.write(NOT_READ)
        super().send_data()

    def process_event(self, event: Event) -> None:
        """A frame came. A message in too many is refused: each is kept until the last one is there."""
        if isinstance(event, Frame) and event.opcode in DATA_OPCODES:
            self.fragments += 1
            if self.fragments > FRAGMENTS_MAX:
                if self.protocol.state is State.OPEN:
                    self.protocol.fail(OVERSIZE.number, "too many fragments")
                    self.send_data()
                return
            if event.fin:
                self.fragments = 0
        super().process_event(event)

    def forget_handshake(self) -> None:
        """Let go of the request and of our answer, 4 KB a connection: nobody asks for them any more.

        `websockets` parses the frames in the generator that has parsed the request and holds on to it; between two
        frames another one can go on. Where a frame has begun already the headers are emptied in place. Its logger goes
        as well: each connection has one of its own, for a name that we do not log, and what waited for the request.
        """
        protocol = self.protocol
        if is_between_frames(protocol):
            protocol.parser = Protocol.parse(protocol)
            next(protocol.parser)
        for said in (self.request, self.response):
            if said is not None:
                said.headers.clear()
        self.request, self.response = FORGOTTEN_REQUEST, FORGOTTEN_RESPONSE
        self.logger = protocol.logger = SOCKETS_LOG
        del self.request_rcvd

    def eof_received(self) -> None:
        """The other side writes no more."""
        if self.is_inside:
            super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self.doorway.leave(self)
        if self.leaving is not None:
            self.leaving.cancel()
        if self.is_inside:
            self.is_inside = False
            super().connection_lost(exc)
            let_go(self.protocol)

    @property
    def is_open(self) -> bool:
        """Whether messages can still be written."""
        return self.protocol.state is State.OPEN and not self.transport.is_closing()

    def pause_writing(self) -> None:
        """The socket's buffer is full."""
        super().pause_writing()
        self.blocked_at_s = self.loop.time()

    def resume_writing(self) -> None:
        """The socket's buffer has drained."""
        super().resume_writing()
        if self.blocked_at_s is not None and self.on_unblocked is not None:
            self.on_unblocked(self.loop.time() - self.blocked_at_s)
        self.blocked_at_s = None
        if self.on_writable is not None:
            self.on_writable()

    def unsent_bytes(self) -> int:
        """Bytes that the socket holds and has not given to the kernel."""
        return self.transport.get_write_buffer_size()

    def undelivered_bytes(self) -> int:
        """Bytes written that the other side has not acknowledged: what we hold, and what the kernel holds.

        It tells a reader of a byte a second from one that reads nothing.
        """
        return self.unsent_bytes() + kernel_bytes(self.transport)

    def write_wire(self, frame: bytes) -> None:
        """Write a frame's bytes now. Only while open; they may go beyond the buffer's mark, never wait.

        Past the protocol of `websockets`, which has nothing to do for a whole text frame in the open state but to
        make these bytes; whatever it writes itself (pongs, the close frame) it gives to the transport as a whole.
        """
        self.transport.write(frame)

    def write_close(self, code: int, reason: str) -> None:
        """Write the close frame now; whoever calls sees to it that the socket does not stay."""
        self.protocol.send_close(code, reason)
        self.send_data()

    def abort(self) -> None:
        """Drop the connection without another word."""
        self.transport.abort()


def is_not_read(failed: Exception) -> bool:
    """Whether a request came that `websockets` does not read; one that ended on its way is none."""
    return isinstance(failed, InvalidMessage) and not isinstance(failed.__cause__, EOFError)


def let_go(protocol: ServerProtocol) -> None:
    """Break the circles of a protocol whose connection is over, so that it goes without the collector.

    Its parser waits for what will never come, and what it has failed with remembers where; both hold the protocol.
    """
    protocol.parser.close()
    if protocol.parser_exc is not None:
        protocol.parser_exc.__traceback__ = None


def kernel_bytes(transport: asyncio.BaseTransport) -> int:
    """Bytes in the socket's send queue that are not acknowledged; 0 where the kernel does not say."""
    socket = transport.get_extra_info("socket")
    if socket is None or socket.fileno() < 0:
        return 0
    try:
        answer = fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, bytes(QUEUE_LENGTH.size))
    except OSError:
        return 0
    return int(QUEUE_LENGTH.unpack(answer)[0])


def is_between_frames(protocol: ServerProtocol) -> bool:
    """Whether the handshake is over and nothing of a frame has come yet: the parser asks whether anything will."""
    frames = getattr(protocol.parser, "gi_yieldfrom", None)
    asking = getattr(frames, "gi_yieldfrom", None)
    return getattr(asking, "gi_code", None) is StreamReader.at_eof.__code__
