"""The way out to one client: what is written when, what is dropped, and who is told."""

from __future__ import annotations

import asyncio

from gateway.fetching.decisions.resume_cursor import LogPosition
from gateway.hubs.decisions.shared_frames import SharedFrame
from gateway.sockets.client_writer import ClientWriter
from gateway.sockets.decisions.client_outbox import ClientOutbox, HeldBytes, OutboxEvent, OutboxLimits, OutboxState
from schemas.codec import decode_server_messages, encode
from schemas.gateway_messages import Lag, Ping
from tests.fakes.recording_socket import RecordingSocket

LIMITS = OutboxLimits(connection_bytes_max=4_000, high_bytes=500, low_bytes=100, rollup_s=0.0, settle_s=0.0)


class Session:
    """A `FrameHolder` with frames to hand over."""

    def __init__(self, writer: ClientWriter) -> None:
        self.writer = writer
        self.written_cursor = ""
        self.waiting: list[SharedFrame] = []
        self.asked = 0

    def hand_over(self) -> bool:
        """As an attachment does."""
        self.asked += 1
        while self.waiting and self.writer.has_room():
            self.writer.pull(self, self.waiting.pop(0))
        return not self.waiting


def frame(place: int, size: int = 100) -> SharedFrame:
    head = encode(Ping(heads={"s": "x" * size}))
    return SharedFrame(head, 1, f"c{place}", LogPosition(place), LogPosition(place + 1))


def writer_over(socket: RecordingSocket, limits: OutboxLimits = LIMITS) -> tuple[ClientWriter, list[str]]:
    said: list[str] = []
    outbox = ClientOutbox(limits, HeldBytes(1_000_000))
    writer = ClientWriter(socket, outbox, lambda: said.append("told"), lambda mode: said.append(mode.value))
    return writer, said


async def rounds(count: int = 6) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_comes_together_is_one_frame() -> None:
    """An array in the order of saying; alone, the session's own bytes."""
    socket = RecordingSocket()
    writer, _ = writer_over(socket)
    session = Session(writer)
    alone, first, second = frame(0), frame(1), frame(2)
    writer.push(session, alone)
    await rounds()
    writer.push(session, first)
    writer.send(Ping())
    writer.push(session, second)
    await rounds()

    assert socket.frames[0] == alone.items
    assert alone.ready is not None
    assert socket.frames[1] == b"[" + first.items + b"," + encode(Ping()) + b"," + second.items + b"]"
    assert (writer.frames, session.written_cursor) == (2, "c2")
    assert first.ready is None


async def test_frames_beyond_one_array() -> None:
    """Several frames, none beyond 64 KiB save a lone one."""
    socket = RecordingSocket()
    writer, _ = writer_over(socket, OutboxLimits(connection_bytes_max=10_000_000, high_bytes=9_000_000, low_bytes=100))
    session = Session(writer)
    for place in range(5):
        writer.push(session, frame(place, 30_000))
    writer.push(session, frame(5, 100_000))
    await rounds()

    assert [len(decode_server_messages(told)) for told in socket.frames] == [2, 2, 1, 1]


async def test_burst_within_one_round() -> None:
    """Far beyond the mark, but the socket takes it: the client is not slow."""
    socket = RecordingSocket()
    writer, said = writer_over(socket)
    session = Session(writer)
    taken = [writer.push(session, frame(place)) for place in range(100)]
    await rounds()

    assert all(taken)
    assert said == []
    assert session.written_cursor == "c99"
    assert writer.outbox.unsent_bytes == 0


async def test_client_that_does_not_take_what_it_is_told() -> None:
    """Its news wait with the session, and are handed over as the socket drains; then it is direct again."""
    socket = RecordingSocket(high_bytes=300, slow=True)
    writer, said = writer_over(socket)
    session = Session(writer)
    for place in range(20):
        news = frame(place)
        if session.waiting or not writer.push(session, news):
            session.waiting.append(news)
        await asyncio.sleep(0)
    most = writer.outbox.unsent_bytes
    asked_while_blocked = session.asked
    while session.waiting:
        socket.drain()
        await rounds()
    socket.slow = False
    socket.drain()
    await rounds()
    writer.tick(0)
    await rounds()

    assert most <= LIMITS.high_bytes + 200
    assert asked_while_blocked == 0
    assert session.written_cursor == "c19"
    assert said == ["rollup", "direct"]
    assert [message for message in socket.told if isinstance(message, Lag)] == [Lag(mode="rollup"), Lag(mode="direct")]


async def test_nobody_is_woken_for_a_client_without_room() -> None:
    """While it takes nothing no timer is set and no session asked; when it reads it is told what is missing."""
    socket = RecordingSocket(high_bytes=300, slow=True)
    writer, said = writer_over(socket)
    session = Session(writer)
    for place in range(12):
        if not writer.push(session, frame(place)):
            break
        await rounds(1)
    session.waiting = [frame(place) for place in range(20, 24)]
    await asyncio.sleep(0.02)
    asked = session.asked
    await asyncio.sleep(0.02)

    assert said == ["rollup"]
    assert writer.behind
    assert writer.roll_timer is None
    assert session.asked == asked
    while session.waiting:
        socket.drain()
        await asyncio.sleep(0.001)
    assert session.asked > asked


async def test_answers_that_nobody_reads() -> None:
    """Beyond the cap the client is closed, once, and nothing more is queued."""
    socket = RecordingSocket(high_bytes=300, slow=True)
    writer, said = writer_over(socket)
    for _ in range(500):
        writer.send(Ping(heads={"s": "x" * 20}))
    writer.flush()
    owed = writer.outbox.unsent_bytes
    writer.send(Ping())
    writer.last_words(Ping(), 4508, "slow")

    assert said == ["closed", "told"]
    assert owed <= LIMITS.connection_bytes_max
    assert socket.closed_with == 4508
    assert writer.queue == []


async def test_session_that_goes_back_to_the_log() -> None:
    """What waits of it is dropped and given back; another session's stays."""
    socket = RecordingSocket(high_bytes=50, slow=True)
    writer, said = writer_over(socket)
    dropped, kept = Session(writer), Session(writer)
    for session in (dropped, dropped, kept, dropped):
        writer.push(session, frame(1, 20))
        writer.flush()
    writer.drop(dropped)
    writer.move(OutboxEvent.OUTRUN)

    assert [holder for _, holder in writer.queue if holder is not None] == [kept]
    assert dropped.written_cursor == "c1"
    assert said == ["log"]
    assert writer.outbox.queued_bytes == sum(entry.owed_bytes for entry, _ in writer.queue)


async def test_client_that_takes_nothing() -> None:
    """Closed after the named time, seen at the ticks; one that takes a little each time is not."""
    for taken, closed in ((0, True), (1, False)):
        socket = RecordingSocket(high_bytes=50, slow=True)
        writer, said = writer_over(socket, OutboxLimits(stall_s=0.05))
        writer.send(Ping(heads={"s": "x" * 100}))
        writer.flush()
        for _ in range(8):
            socket.held_bytes -= taken
            writer.tick(socket.held_bytes)
            await asyncio.sleep(0.01)  # the time is what is tried

        assert ("closed" in said) == closed
        assert writer.outbox.state is (OutboxState.CLOSED if closed else OutboxState.DIRECT)


async def test_gone() -> None:
    """Its account is settled, and no timer is left."""
    socket = RecordingSocket(high_bytes=50, slow=True)
    writer, _ = writer_over(socket)
    session = Session(writer)
    for place in range(20):
        if not writer.push(session, frame(place)):
            session.waiting.append(frame(place))
    held = writer.outbox.held
    owed = held.total
    writer.forget()

    assert owed > 0
    assert held.total == 0
    assert writer.roll_timer is None
