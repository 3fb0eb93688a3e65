"""What one client is sent: frames queue here and are written as the socket takes them.

No task and no lock: whoever has something to say queues it, and one callback at the end of the loop's round writes
everything that came together as one array frame; alone, a session's frame goes out in the bytes that all its readers
share. While the socket is blocked nothing is written; it goes on when the socket says so.

A session's news are pushed while the connection is direct. Otherwise (`decisions/client_outbox.py`) whoever has news
waits in `behind` and is asked, once per interval and while there is room, to hand over what is missing: it keeps a
position in its session's memory, so nothing is queued for a client that does not take it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, Self

from gateway.hubs.decisions.shared_frames import FRAME_BYTES_MAX, SharedFrame, framed, joined_items, own_frame
from gateway.sockets.decisions.client_outbox import ClientOutbox, OutboxEvent, OutboxState
from schemas.codec import encode
from schemas.gateway_messages import Lag, ServerMessage

__all__ = ["ClientWriter", "FrameHolder", "FrameSocket"]

DIRECT: Final = OutboxState.DIRECT
ROLL_FLOOR_S: Final = 0.01
"""A connection that is direct again hands over what is missing this soon."""


class FrameSocket(Protocol):
    """A websocket that takes ready-made frames (`gateway.sockets.client_socket.ClientSocket`)."""

    loop: asyncio.AbstractEventLoop
    paused: bool
    on_writable: Callable[[], None] | None

    @property
    def is_open(self) -> bool:
        """Whether messages can still be written."""

    def unsent_bytes(self) -> int:
        """Bytes taken and not yet given to the kernel."""

    def write_wire(self, frame: bytes) -> None:
        """Write a frame's bytes now."""

    def write_close(self, code: int, reason: str) -> None:
        """Write the close frame now."""


class FrameHolder(Protocol):
    """What a connection holds of one session: what was really written, and what is missing and handed over."""

    written_cursor: str

    def hand_over(self) -> bool:
        """Queue what is missing while there is room; True: nothing more is missing that memory knows."""


class ParkedBytes:
    """What waits for room, until it is told or given up."""

    def __init__(self, outbox: ClientOutbox, message_bytes: int) -> None:
        self._outbox = outbox
        self._message_bytes = message_bytes

    def __enter__(self) -> Self:
        self._outbox.park(self._message_bytes)
        return self

    def __exit__(self, *_: object) -> None:
        self.release(self._message_bytes)

    def release(self, message_bytes: int) -> None:
        """So many of them wait no longer."""
        self._message_bytes -= message_bytes
        self._outbox.park(-message_bytes)


@dataclass(slots=True, eq=False)
class ClientWriter:
    """The way out to one client."""

    socket: FrameSocket
    outbox: ClientOutbox
    on_closed: Callable[[], None]
    """Told once when the client is too slow to be kept."""
    on_mode: Callable[[OutboxState], None]
    """Told of each rung that is reached, for the shell's metrics."""
    queue: list[tuple[SharedFrame, FrameHolder | None]] = field(default_factory=list, init=False)
    behind: dict[FrameHolder, None] = field(default_factory=dict, init=False)
    """Sessions with something missing that memory may know."""
    _flush_due: bool = field(default=False, init=False)
    frames: int = field(default=0, init=False)
    """Frames written, for the shell's metrics."""
    _waiters: list[asyncio.Future[None]] = field(default_factory=list, init=False)
    roll_timer: asyncio.TimerHandle | None = field(default=None, init=False)
    _rolled_at_s: float = field(default=0.0, init=False)
    _said: OutboxState = field(default=DIRECT, init=False)
    """The rung that the client was told of."""

    def __post_init__(self) -> None:
        self.socket.on_writable = self.flush

    # ---- Saying

    def send(self, message: ServerMessage) -> None:
        """Say something of our own."""
        frame = own_frame(encode(message))
        if self.outbox.own(frame.owed_bytes, self.socket.loop.time()):
            self.enqueue(frame, None)
        else:
            self.noted()

    def push(self, holder: FrameHolder, frame: SharedFrame) -> bool:
        """Pass a session's news on as they come; False: they are to be handed over later."""
        outbox = self.outbox
        if outbox.queued_bytes > outbox.limits.high_bytes and not self.socket.paused:
            self.flush()  # a burst says nothing about a client before its socket was asked
        if outbox.push(frame.owed_bytes, self.socket.loop.time()):
            self.enqueue(frame, holder)
            return True
        self.fall_behind(holder)
        return False

    def pull(self, holder: FrameHolder, frame: SharedFrame) -> None:
        """Take a session's frame, there being room."""
        self.outbox.pull(frame.owed_bytes)
        self.enqueue(frame, holder)

    def parked(self, message_bytes: int) -> ParkedBytes:
        """Bytes that wait for room outside the queue, counted while they do."""
        return ParkedBytes(self.outbox, message_bytes)

    def has_room(self) -> bool:
        """Whether a session's next frame may be taken."""
        return not self.socket.paused and self.outbox.has_room()

    def enqueue(self, frame: SharedFrame, holder: FrameHolder | None) -> None:
        self.queue.append((frame, holder))
        if not self._flush_due and not self.socket.paused:
            self._flush_due = True
            self.socket.loop.call_soon(self.flush)

    # ---- Writing

    def flush(self) -> None:
        """Write what waits, as far as the socket takes it."""
        self._flush_due = False
        queue, socket = self.queue, self.socket
        while queue and not socket.paused and socket.is_open:
            if len(queue) == 1:
                frame, holder = queue.pop()
                if holder is not None:
                    holder.written_cursor = frame.cursor
                self.write(frame.wire(), frame.owed_bytes)
            else:
                self.write_together()
        self.observe()

    def write_together(self) -> None:
        queue, size = self.queue, 2
        together: list[SharedFrame] = []
        for frame, holder in queue:
            if together and size + len(frame.items) + 1 > FRAME_BYTES_MAX:
                break
            if holder is not None:
                holder.written_cursor = frame.cursor
            together.append(frame)
            size += len(frame.items) + 1
        del queue[: len(together)]
        wire = framed(joined_items(together), sum(frame.count for frame in together))
        self.write(wire, sum(frame.owed_bytes for frame in together))

    def write(self, wire: bytes, owed_bytes: int) -> None:
        self.socket.write_wire(wire)
        self.frames += 1
        self.outbox.written(owed_bytes, len(wire))

    def observe(self) -> None:
        """Look at what the socket still holds, and let those go on who wait for room."""
        self.outbox.observe(self.socket.unsent_bytes(), self.socket.loop.time())
        self.noted()
        if self._waiters and (self.has_room() or not self.queue):
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)
            self._waiters.clear()
        if self.behind:
            self.roll_when_due()

    async def until_room(self) -> None:
        """Wait until a session's next frame may be taken. The connection's deadlines bound this.

        Cancellation: nothing has happened.
        """
        while not self.has_room():
            await self.observed()

    async def until_written(self) -> None:
        """Wait until nothing waits in our queue: the socket has taken it, or the connection is ended.

        The connection's deadlines bound this. Cancellation: nothing has happened.
        """
        while self.queue:
            await self.observed()

    async def observed(self) -> None:
        waiter = self.socket.loop.create_future()
        self._waiters.append(waiter)
        await waiter

    # ---- Sessions that are behind

    def fall_behind(self, holder: FrameHolder) -> None:
        """The session has something missing: have it handed over when it is time."""
        self.behind[holder] = None
        self.noted()
        self.roll_when_due()

    def roll_when_due(self) -> None:
        """Have what is missing handed over when it is time.

        While there is no room no timer is set: thousands that take nothing would all be looked at in the same round of
        the loop, twice a second, and everybody else's frames wait for it. `observe` sees it when there is room again.
        """
        if self.behind and self.roll_timer is None and self.has_room():
            loop = self.socket.loop
            interval_s = ROLL_FLOOR_S if self.outbox.state is DIRECT else self.outbox.limits.rollup_s
            self.roll_timer = loop.call_at(max(loop.time(), self._rolled_at_s + interval_s), self.roll)

    def roll(self) -> None:
        """Have each session hand over what is missing, in turns, as far as there is room."""
        self._rolled_at_s = self.socket.loop.time()
        self.observe()
        self.roll_timer = None
        for holder in list(self.behind):
            if not self.has_room():
                break
            self.behind.pop(holder, None)
            if not holder.hand_over():
                self.behind[holder] = None
        if not self.behind:
            self.outbox.settle(self._rolled_at_s)
        self.noted()
        self.roll_when_due()

    def rests(self) -> bool:
        """Whether there is nothing to look at; true for a connection that has been told everything it is to be told."""
        return not self.behind and not self._waiters and self.outbox.rests(self.socket.loop.time())

    def tick(self, undelivered_bytes: int) -> bool:
        """Look at the time. `undelivered_bytes`: what the other side has not acknowledged; whether it took any."""
        now_s = self.socket.loop.time()
        self.observe()
        progressed = self.outbox.watch(undelivered_bytes, now_s)
        if not self.behind:
            self.outbox.settle(now_s)
        self.noted()
        return progressed

    def drop(self, holder: FrameHolder) -> None:
        """Drop what waits of a session: it will be told from where it was really written."""
        kept = [entry for entry in self.queue if entry[1] is not holder]
        if len(kept) < len(self.queue):
            self.outbox.dropped(sum(frame.owed_bytes for frame, owner in self.queue if owner is holder))
            self.queue[:] = kept
        self.behind.pop(holder, None)

    def move(self, event: OutboxEvent) -> None:
        """Something happened that moves the connection along its ladder."""
        self.outbox.cross(event, self.socket.loop.time())
        self.noted()

    def noted(self) -> None:
        """Tell the client, and the shell, of a rung that was reached."""
        state = self.outbox.state
        if state is self._said:
            return
        self._said = state
        self.on_mode(state)
        match state:
            case OutboxState.CLOSED:
                self.on_closed()
            case OutboxState.DIRECT | OutboxState.ROLLUP | OutboxState.LOG:
                self.send(Lag(mode=state.value))

    # ---- The end

    def last_words(self, message: ServerMessage, code: int, reason: str) -> None:
        """Drop what waits and say why the connection ends, even through a blocked socket."""
        self.close()
        if self.socket.is_open:
            self.socket.write_wire(own_frame(encode(message)).wire())
            self.socket.write_close(code, reason)

    def close(self) -> None:
        """Say nothing more: what waits is dropped."""
        self.outbox.dropped(self.outbox.queued_bytes)
        self.queue.clear()
        self.behind.clear()
        if self.roll_timer is not None:
            self.roll_timer.cancel()
            self.roll_timer = None
        self.observe()

    def forget(self) -> None:
        """The socket is gone, and with it all that was owed. Nobody is told of anything any more.

        What told of us is let go of, so that the connection goes without the collector, which stops everybody.
        """
        self.close()
        self.outbox.forget()
        self.socket.on_writable = None
        self.on_closed = self.on_mode = nobody


def nobody(*_: object) -> None:
    """Whom a connection that is gone tells of its end."""
