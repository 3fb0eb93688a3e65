"""Clients of two gateways come, go, stall and come back while a log grows: each is told everything once, in order.

Each example is a schedule: records are appended, some of them delivered, clients attach (at the start, the tail, or
with a cursor of somebody else), stall, read on, leave; the hub is dropped when idle. At the end everybody reads to
the end of the log, and what they were told is compared with the log itself. Who attached at the tail was told the open
turns by one snapshot that the rest joins without a seam.

Covers: gateway.hubs.decisions.attach_plan.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from hypothesis import event as note
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from schemas.gateway_messages import Attached, Delta, End, Queued, ServerMessage, Snapshot, Start
from schemas.session_events import SessionEvent, TokensEmitted, TurnEnded, TurnQueued, TurnStarted
from schemas.topics import Layout
from tests.fakes.followed_log import FollowedLog, FollowedLogReader
from tests.unit.gateway.gateway_parts import RecordedClient, key_of, services_over, settled

SESSION = "s1"
LARGEST_MESSAGE = 50_000
STEPS = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 8)),
    st.tuples(st.just("others_append"), st.integers(1, 3)),
    st.tuples(st.just("deliver"), st.integers(0, 1)),
    st.tuples(st.just("attach_start"), st.integers(0, 3)),
    st.tuples(st.just("attach_tail"), st.integers(0, 3)),
    st.tuples(st.just("attach_cursor"), st.integers(0, 200)),
    st.tuples(st.just("drain"), st.integers(0, 10)),
    st.tuples(st.just("shed"), st.integers(0, 10)),
    st.tuples(st.just("leave"), st.integers(0, 10)),
    st.tuples(st.just("drop_idle"), st.integers(0, 1)),
    st.tuples(st.just("run"), st.just(0)),
)


def story(length: int) -> list[SessionEvent]:
    """Turns of eight chunks, every third with a second attempt."""
    events: list[SessionEvent] = []
    number = 0
    while len(events) < length:
        turn = f"t{number}"
        events.append(TurnQueued(turn=turn, prompt_id=f"p{number}", input="?"))
        for attempt in range(1, 3 if number % 3 == 2 else 2):
            run = f"{turn}-{attempt}"
            events.append(TurnStarted(turn=turn, attempt=attempt, run=run))
            for seq in range(0, 8, 2):
                chunks = (f"{run}#{seq} ", f"{run}#{seq + 1} ")
                events.append(TokensEmitted(turn=turn, attempt=attempt, run=run, seq=seq, chunks=chunks))
        events.append(TurnEnded(turn=turn, attempt=attempt, run=run, reason="complete"))
        number += 1
    return events


def facts(messages: list[ServerMessage]) -> list[str]:
    """Chunk by chunk, however the messages were cut."""
    said: list[str] = []
    for message in messages:
        match message:
            case Delta():
                chunks = message.text.split()
                assert len(chunks) == message.n
                said.extend(f"{message.turn} {message.seq + n} {chunk}" for n, chunk in enumerate(chunks))
            case Queued() | Start() | End():
                said.append(f"{type(message).__name__} {message.turn} {getattr(message, 'attempt', 0)}")
            case _:
                pass
    return said


def facts_of_log(events: list[SessionEvent]) -> list[str]:
    said: list[str] = []
    for event in events:
        match event:
            case TokensEmitted():
                said.extend(f"{event.turn} {event.seq + n} {chunk.strip()}" for n, chunk in enumerate(event.chunks))
            case TurnQueued():
                said.append(f"Queued {event.turn} 0")
            case TurnStarted():
                said.append(f"Start {event.turn} {event.attempt}")
            case TurnEnded():
                said.append(f"End {event.turn} {event.attempt}")
            case _:
                pass
    return said


@dataclass
class Expected:
    """What a client must be told: all after `known` facts of the log; at the tail, a picture and what follows."""

    client: RecordedClient
    known: int
    tail_at: int | None = None


class Line:
    """One example's gateway, log and clients."""

    def __init__(self, layout: Layout, tasks: asyncio.TaskGroup) -> None:
        self.log = FollowedLog(layout)
        self.readers = [FollowedLogReader(self.log), FollowedLogReader(self.log)]
        # One gateway splits every record, so that cursors of it may stand inside one, and remembers little.
        self.gateways = [
            services_over(self.log, reader, message_bytes_max=bytes_max, rings_bytes_max=rings_bytes_max)
            for reader, bytes_max, rings_bytes_max in zip(self.readers, (100, 50_000), (1, 1_000_000), strict=True)
        ]
        self.tasks = tasks
        self.story = story(400)
        self.written: list[SessionEvent] = []
        self.clients: list[Expected] = []
        self.cursors: list[tuple[str, int]] = []

    def others_append(self, count: int) -> None:
        """Another session, in the shared layout perhaps in the same partition."""
        place = self.log.place(key_of(SESSION))
        other = next(
            key
            for number in range(10_000)
            if self.log.place(key := key_of(f"other-{number}")).partition == place.partition
        )
        self.log.append(other, story(count)[:count])

    def append(self, count: int) -> None:
        events = self.story[len(self.written) : len(self.written) + count]
        self.log.append(key_of(SESSION), events)
        self.written.extend(events)

    async def attach(self, from_: str, draw: int, *, known: int = 0, tail: bool = False) -> None:
        """A new client, slow or not, at one of the gateways."""
        client = RecordedClient(self.gateways[draw // 2 % 2], self.tasks, slow=draw % 2 == 0)
        tail_at = len(facts_of_log(self.written)) if tail else None
        await client.attach(SESSION, from_)
        self.clients.append(Expected(client, known, tail_at))

    async def attach_with_a_cursor(self, draw: int) -> None:
        """A cursor that somebody was given, and what its holder knows."""
        for expected in self.clients:
            if expected.tail_at is None:
                self.cursors.extend(cursors_of(expected))
        if self.cursors:
            cursor, known = self.cursors[draw % len(self.cursors)]
            await self.attach(cursor, draw, known=known)

    async def step(self, kind: str, number: int) -> None:
        match kind:
            case "append":
                self.append(number)
            case "others_append":
                self.others_append(number)
            case "deliver":
                self.readers[number].deliver()
            case "attach_start":
                await self.attach("start", number)
            case "attach_tail":
                await self.attach("tail", number, tail=True)
            case "attach_cursor":
                await self.attach_with_a_cursor(number)
            case "drain" if self.clients:
                self.clients[number % len(self.clients)].client.socket.drain()
            case "shed" if self.clients:
                self.clients[number % len(self.clients)].client.attachments.shed()
            case "leave" if self.clients:
                self.clients.pop(number % len(self.clients)).client.attachments.close()
            case "drop_idle":
                hubs = self.gateways[number].hubs
                hubs.sweep(hubs.all(), 0.0)
                hubs.sweep(hubs.all(), 1_000.0)
            case _:
                await settled()
        for expected in self.clients:
            outbox = expected.client.writer.outbox
            assert outbox.unsent_bytes <= outbox.limits.high_bytes + LARGEST_MESSAGE
            note(outbox.state.value)

    async def finish(self) -> None:
        """Everybody reads to the end."""
        for reader in self.readers:
            reader.deliver()
        for _ in range(400):
            for expected in self.clients:
                expected.client.socket.slow = False
                expected.client.socket.drain()
            await asyncio.sleep(0)

    def check(self) -> None:
        whole = facts_of_log(self.written)
        for expected in self.clients:
            told = expected.client.socket.told
            assert isinstance(told[0], Attached)
            assert not expected.client.evicted
            if expected.tail_at is None:
                assert facts(told) == whole[expected.known :]
            else:
                self.check_tail(told, whole, expected.tail_at)

    def check_tail(self, told: list[ServerMessage], whole: list[str], tail_at: int) -> None:
        """One picture of what was open where the hub stood, then everything from there on."""
        assert isinstance(told[0], Attached)
        snapshots = [message for message in told if isinstance(message, Snapshot)]
        said = facts(told)
        joined_at = len(whole) - len(said)
        assert joined_at <= tail_at  # the hub may lag behind the log
        assert said == whole[joined_at:]
        assert told[1 : 1 + len(snapshots)] == snapshots
        assert told[0].recovered == ("snapshot" if snapshots else "live")
        assert [bool(snapshot.c) for snapshot in snapshots] == [False] * (len(snapshots) - 1) + [True] * bool(snapshots)
        assert shown_by(snapshots) == open_turns(whole[:joined_at])


Shown = dict[str, tuple[int, int, str]]
"""Turn → attempt, next chunk, text."""


def shown_by(snapshots: list[Snapshot]) -> Shown:
    shown: Shown = {}
    for snapshot in snapshots:
        for piece in snapshot.turns:
            before = shown.get(piece.turn, (0, 0, ""))[2]
            shown[piece.turn] = (piece.attempt, piece.next_seq, before + piece.text)
    return shown


def open_turns(said: list[str]) -> Shown:
    """The turns that are open behind these facts."""
    shown: Shown = {}
    for line in said:
        first, second, third = line.split()
        match first:
            case "Queued":
                shown[second] = (0, 0, "")
            case "Start":
                shown[second] = (int(third), 0, "")
            case "End":
                del shown[second]
            case _:
                attempt, _, text = shown[first]
                shown[first] = (attempt, int(second) + 1, f"{text}{third} ")
    return shown


def cursors_of(expected: Expected) -> list[tuple[str, int]]:
    """Every cursor that a client was given, with how much of the log its holder knows."""
    found: list[tuple[str, int]] = []
    told = expected.client.socket.told
    for place, message in enumerate(told):
        cursor = getattr(message, "c", "")
        if cursor:
            found.append((cursor, expected.known + len(facts(told[: place + 1]))))
    return found


@hypothesis_settings(deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=40), st.sampled_from(["dedicated", "shared"]))
def test_everybody_is_told_everything_once(steps: list[tuple[str, int]], layout: Layout) -> None:
    """See the module."""

    async def run() -> None:
        async with asyncio.TaskGroup() as tasks:
            line = Line(layout, tasks)
            for kind, number in steps:
                await line.step(kind, number)
            await line.finish()
            line.check()
            for expected in line.clients:
                expected.client.attachments.close()
            for gateway in line.gateways:
                await gateway.hubs.close()

    asyncio.run(run())
