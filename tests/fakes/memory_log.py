"""Kafka in memory, as far as a worker uses it: append, fetch, offsets by number and by time, topics of sessions.

The fakes extend the real classes, so that whatever is built on their few primitives (`LogClient.read`, `bounds`) is
the real code; `tests/integration/test_memory_log_contract.py` holds both to the same behaviour. Whoever makes an
appender decides the fate of every append: it may land late, fail, land without a word, or land twice, as after an
acknowledgement that was lost.
"""

from __future__ import annotations

import asyncio
import enum
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import uuid4

from infra.clock import Clock
from infra.kafka.log_client import Fetched, LogClient, LogRecord, LogUnavailable, OffsetOutOfRange, TellLost, UnknownLog
from infra.kafka.lost_range import LostRange
from infra.kafka.session_topics import (
    SessionLog,
    SessionTopicRefused,
    SessionTopics,
    SessionTopicsFull,
    SessionTopicsUnavailable,
)
from processors.writing.log_appender import AppendFailed, AppendRefused, IsGone, LogAppender, LogGone, unknown_is_gone
from schemas.identifiers import SessionKey
from schemas.topics import PROMPT_CARRIER_BYTES_MAX, Layout
from tests.fakes.topic_names import NAMES, fixed_topics, session_place

__all__ = ["CALM", "Fate", "MemoryAppender", "MemoryLog", "MemoryReader", "MemoryTopics", "Weather"]

EARLIEST = -2
LATEST = -1
AWAY_S = 15.0
"""How long a topic that cannot be made is asked for in vain."""


class Fate(enum.Enum):
    """What becomes of an append."""

    LANDS = "lands"
    FAILS = "fails"
    """AppendFailed, and nothing is on the log."""
    UNKNOWN = "unknown"
    """AppendFailed, and it is on the log."""
    TWICE = "twice"
    """On the log twice: the first acknowledgement was lost, the offsets are those of the second."""


@dataclass(frozen=True, slots=True)
class Weather:
    """The fate of one append and how long it travels; for a read, only the first delay and FAILS matter."""

    fate: Fate = Fate.LANDS
    there_s: float = 0.0
    back_s: float = 0.0


CALM = Weather()


class MemoryLog:
    """The topics of a cluster. Fixed topics exist from the start, session topics once they are created."""

    def __init__(self, clock: Clock, *, layout: Layout = "dedicated") -> None:
        self.clock = clock
        self.layout: Layout = layout
        self.partitions: dict[tuple[str, int], list[LogRecord]] = {}
        self.starts: defaultdict[tuple[str, int], int] = defaultdict(int)
        self.epochs: dict[str, str] = {}
        self.damaged: defaultdict[tuple[str, int], list[range]] = defaultdict(list)
        for topic in fixed_topics(layout):
            self.create(topic.name, topic.partitions)

    def create(self, topic: str, partitions: int = 1) -> str:
        """Create a topic if it is not there; returns its id."""
        if topic not in self.epochs:
            self.epochs[topic] = str(uuid4())
            for partition in range(partitions):
                self.partitions[topic, partition] = []
        return self.epochs[topic]

    def delete(self, topic: str) -> None:
        """Delete a topic with all it holds."""
        self.epochs.pop(topic, None)
        for place in [place for place in self.partitions if place[0] == topic]:
            del self.partitions[place]
            self.starts.pop(place, None)

    def put(self, topic: str, partition: int, value: bytes | None, *, key: bytes | None = None) -> int:
        """Append at once; returns the offset."""
        records = self.records(topic, partition)
        record = LogRecord(len(records), self.clock.now_us() // 1_000, key, value)
        records.append(record)
        return record.offset

    def trim(self, topic: str, partition: int, start: int) -> None:
        """Forget what lies before `start`, as retention does."""
        self.starts[topic, partition] = start

    def damage(self, topic: str, partition: int, start: int, end: int) -> None:
        """Make a range of offsets one that no reader can read."""
        self.damaged[topic, partition] = sorted(
            [*self.damaged[topic, partition], range(start, end)], key=lambda each: each.start
        )

    def records(self, topic: str, partition: int) -> list[LogRecord]:
        """Everything that was ever appended. Raises UnknownLog."""
        found = self.partitions.get((topic, partition))
        if found is None:
            raise UnknownLog(topic)
        return found


class MemoryAppender(LogAppender):
    """Appends of one worker. Appends to one partition land in the order in which they were sent."""

    names = NAMES

    def __init__(self, log: MemoryLog, weather: Callable[[str], Weather] = lambda _: CALM) -> None:
        self.memory = log
        self.weather = weather
        self.orders: defaultdict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)
        self.on_landed: Callable[[str, bytes | None], None] = lambda *_: None
        self.forgotten: list[str] = []
        self.travelling: set[asyncio.Task[list[int]]] = set()
        self.stopped = False

    async def start(self) -> None:
        """Nothing to connect."""

    async def stop(self) -> None:
        """Later appends fail."""
        self.stopped = True

    async def append_all(
        self,
        topic: str,
        partition: int,
        values: Sequence[bytes | None],
        *,
        key: bytes | None = None,
        is_gone: IsGone = unknown_is_gone,
    ) -> list[int]:
        """As the real one: AppendRefused, AppendFailed, or the offsets."""
        for value in values:
            if value is not None and len(value) > PROMPT_CARRIER_BYTES_MAX:
                raise AppendRefused(f"a record of {len(value)} bytes; at most {PROMPT_CARRIER_BYTES_MAX} are allowed")
        if self.stopped:
            raise AppendFailed("the producer is stopped")
        weather = self.weather(topic)
        travel = asyncio.create_task(self.landing(topic, partition, values, key, weather))
        self.travelling.add(travel)
        travel.add_done_callback(self.travelling.discard)
        travel.add_done_callback(lambda done: done.cancelled() or done.exception())  # its sender may be gone
        offsets = await asyncio.shield(travel)
        await asyncio.sleep(weather.back_s)
        if weather.fate is Fate.UNKNOWN:
            raise AppendFailed(f"{topic}: nobody knows")
        return offsets

    async def landing(
        self, topic: str, partition: int, values: Sequence[bytes | None], key: bytes | None, weather: Weather
    ) -> list[int]:
        """A task of its own: what was sent lands, whatever becomes of the sender."""
        async with self.orders[topic, partition]:
            await asyncio.sleep(weather.there_s)
            if weather.fate is Fate.FAILS:
                raise AppendFailed(f"{topic}: lost on the way")
            try:
                offsets = [self.landed(topic, partition, value, key) for value in values]
                if weather.fate is Fate.TWICE:
                    offsets = [self.landed(topic, partition, value, key) for value in values]
            except UnknownLog as error:
                raise LogGone(f"{topic}: there is no such topic") from error
        return offsets

    def forget(self, topic: str) -> None:
        """Remember that it was asked."""
        self.forgotten.append(topic)

    def landed(self, topic: str, partition: int, value: bytes | None, key: bytes | None) -> int:
        offset = self.memory.put(topic, partition, value, key=key)
        self.on_landed(topic, value)
        return offset


class MemoryReader(LogClient):
    """Reads of one worker: the primitives of the real client, in memory."""

    def __init__(
        self,
        log: MemoryLog,
        weather: Callable[[str], Weather] = lambda _: CALM,
        *,
        on_lost: TellLost | None = None,
    ) -> None:
        self.memory = log
        self.weather = weather
        self._on_lost = on_lost
        self.batch_max = 1_000

    async def start(self) -> None:
        """Nothing to connect."""

    async def stop(self) -> None:
        """Nothing to close."""

    async def fetch(
        self, topic: str, partition: int, offset: int, *, wait_ms: int = 0, bytes_max: int = 1_048_576
    ) -> Fetched:
        """One fetch; never waits for a record."""
        await self.travel(topic)
        records, start = self.memory.records(topic, partition), self.memory.starts[topic, partition]
        if not start <= offset <= len(records):
            raise OffsetOutOfRange(start, len(records))
        damaged = next((each for each in self.memory.damaged[topic, partition] if each.stop > offset), range(0))
        if offset in damaged:
            lost = LostRange(topic, partition, offset, damaged.stop, "its checksum is wrong", end_is_known=True)
            if self._on_lost is not None:
                await self._on_lost(lost)
            return Fetched([], len(records), damaged.stop, lost)
        stop = min(offset + self.batch_max, damaged.start or len(records))
        return Fetched(records[offset:stop], len(records), min(stop, len(records)))

    async def offset_of_time(self, topic: str, partition: int, timestamp_ms: int) -> int:
        """An offset by time, or of either end."""
        await self.travel(topic)
        records, start = self.memory.records(topic, partition), self.memory.starts[topic, partition]
        if timestamp_ms == EARLIEST:
            return start
        if timestamp_ms == LATEST:
            return len(records)
        return next((record.offset for record in records[start:] if record.timestamp_ms >= timestamp_ms), -1)

    async def travel(self, topic: str) -> None:
        weather = self.weather(topic)
        await asyncio.sleep(weather.there_s)
        if weather.fate is Fate.FAILS:
            raise LogUnavailable(f"no answer about {topic}")


class MemoryTopics(SessionTopics):
    """Creates session topics at once."""

    def __init__(self, log: MemoryLog) -> None:
        self.memory = log
        self.is_away = False
        """Whether it cannot make any at the moment."""
        self.refuses = False
        """Whether it creates none any more."""
        self.is_full = False
        """Whether there are as many as may be."""

    async def start(self) -> None:
        """Nothing to connect."""

    async def stop(self) -> None:
        """Nothing to end."""

    async def ensure(self, key: SessionKey) -> SessionLog:
        """The session's log, created if absent."""
        place = session_place(key, self.memory.layout)
        if self.is_away and place.topic not in self.memory.epochs:
            await asyncio.sleep(AWAY_S)
            raise SessionTopicsUnavailable("the cluster did not answer in time")
        if self.refuses and place.topic not in self.memory.epochs:
            raise SessionTopicRefused("The cluster refuses a session's topic: it is full.")
        if self.is_full and place.topic not in self.memory.epochs:
            raise SessionTopicsFull(5, 5)
        return SessionLog(place, self.memory.create(place.topic))

    async def find(self, key: SessionKey) -> SessionLog | None:
        """The session's log if it exists."""
        place = session_place(key, self.memory.layout)
        epoch = self.memory.epochs.get(place.topic)
        return SessionLog(place, epoch) if epoch else None

    async def is_gone(self, session_log: SessionLog) -> bool:
        """Whether the topic has another id, or is not there."""
        return self.memory.epochs.get(session_log.place.topic) != session_log.epoch

    def forget(self, key: SessionKey) -> None:
        """Nothing is remembered here."""

    async def delete(self, key: SessionKey) -> None:
        """Delete a session's own topic."""
        if self.refuses:
            raise SessionTopicRefused("The cluster refuses a session's topic: it is full.")
        if self.memory.layout == "dedicated":
            self.memory.delete(session_place(key, "dedicated").topic)
