"""Session logs in memory: appended by the test, found, read and followed as the gateway does with Kafka's.

A reader delivers to its followers only when the test says `deliver`, so a test decides what is on the log and not
yet relayed, by each of several gateways. In the shared layout several sessions lie in one partition.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence

from gateway.fetching.decisions.open_turns import OpenTurns
from gateway.fetching.decisions.resume_cursor import GapReason
from gateway.fetching.followed_partitions import FollowedPartitions
from gateway.fetching.log_reader import LogFollower
from infra.kafka.fetch_request import FetchedPartition
from infra.kafka.log_client import Fetched, LogBounds, LogRecord, LogUnavailable, OffsetOutOfRange
from infra.kafka.record_batches import Decoded
from infra.kafka.session_topics import SessionLog, SessionTopicsUnavailable
from schemas.activity import SessionActivity
from schemas.codec import encode
from schemas.identifiers import SessionKey
from schemas.session_events import SessionEvent
from schemas.topics import Layout, LogPlace
from tests.fakes.topic_names import NAMES, session_place

__all__ = ["FollowedLog", "FollowedLogReader"]

READ_BATCH = 3
"""Few records at once, so that reading takes several steps."""


class FollowedLog:
    """The logs themselves: a `LogFinder`, a `PastReader` and a `PieceSource`."""

    def __init__(self, layout: Layout = "dedicated", *, records_per_read: int = READ_BATCH) -> None:
        self.layout = layout
        self.records_per_read = records_per_read
        self.records: defaultdict[tuple[str, int], list[LogRecord]] = defaultdict(list)
        self.starts: defaultdict[tuple[str, int], int] = defaultdict(int)
        self.epochs: defaultdict[SessionKey, int] = defaultdict(int)
        self.reachable = True
        self.unmade: set[SessionKey] = set()
        """Sessions that have none."""
        self.looks = 0
        """How often the cluster was asked where logs are."""
        self.reads = 0
        """Batches read of the past."""

    def append(self, key: SessionKey, events: Sequence[SessionEvent]) -> None:
        """Put records on the session's log; nobody hears of them yet."""
        place = self.place(key)
        log = self.records[place.topic, place.partition]
        first = len(log)
        log.extend([LogRecord(first + n, 0, key.encode(), encode(event)) for n, event in enumerate(events)])

    def recreate(self, key: SessionKey) -> None:
        """Delete the session's log and make it anew."""
        place = self.place(key)
        self.records[place.topic, place.partition].clear()
        self.epochs[key] += 1

    def place(self, key: SessionKey) -> LogPlace:
        """Where the session's log is."""
        return session_place(key, self.layout)

    async def find_all(self, keys: Sequence[SessionKey]) -> dict[SessionKey, SessionLog]:
        """See `LogFinder.find_all`."""
        if not self.reachable:
            raise SessionTopicsUnavailable("the test has taken the cluster away")
        self.looks += 1
        return {key: SessionLog(self.place(key), f"epoch-{self.epochs[key]}") for key in keys if key not in self.unmade}

    def forget(self, key: SessionKey) -> None:
        """See `LogFinder.forget`."""

    async def bounds(self, topic: str, partition: int) -> LogBounds:
        """See `PastReader.bounds`."""
        self.answer()
        return LogBounds(self.starts[topic, partition], len(self.records[topic, partition]))

    async def end(self, topic: str, partition: int) -> int:
        """See `PastReader.end`."""
        return (await self.bounds(topic, partition)).end

    async def read(self, topic: str, partition: int, start: int, end: int) -> AsyncIterator[list[LogRecord]]:
        """See `PastReader.read`."""
        self.answer()
        log = self.records[topic, partition][:end]
        for first in range(max(start, self.starts[topic, partition]), len(log), self.records_per_read):
            self.reads += 1
            yield log[first : first + self.records_per_read]

    async def fetch(self, topic: str, partition: int, offset: int, *, wait_ms: int = 0, bytes_max: int = 0) -> Fetched:
        """See `PieceSource.fetch`."""
        self.answer()
        log, start = self.records[topic, partition], self.starts[topic, partition]
        if not start <= offset <= len(log):
            raise OffsetOutOfRange(start, len(log))
        self.reads += 1
        records = log[offset : offset + self.records_per_read]
        return Fetched(records, len(log), offset + len(records))

    def answer(self) -> None:
        if not self.reachable:
            raise LogUnavailable("the test has taken the log away")


class FollowedLogReader:
    """One gateway's `SessionReader`."""

    def __init__(self, log: FollowedLog) -> None:
        self.log = log
        self.partitions = FollowedPartitions(NAMES.is_dense)
        self.awaited: dict[SessionKey, Callable[[SessionActivity], None]] = {}
        self.reachable = True

    def deliver(self) -> None:
        """Bring every follower up to the end of its log."""
        for name, partition in list(self.partitions.by_name.items()):
            self.partitions.take(FollowedFetch(name, self.log.records[name]), partition.position)

    def lose(self, key: SessionKey, reason: GapReason) -> None:
        """The log does not go on where it is followed."""
        place = self.log.place(key)
        self.partitions.lose((place.topic, place.partition), reason)

    def follow(self, place: LogPlace, key: SessionKey, offset: int, follower: LogFollower) -> bool:
        """See `LogReader.follow`."""
        return self.partitions.follow(place, key, offset, follower)

    def unfollow(self, place: LogPlace, key: SessionKey) -> None:
        """See `LogReader.unfollow`."""
        self.partitions.unfollow(place, key)

    def position(self, place: LogPlace) -> int | None:
        """See `LogReader.position`."""
        return self.partitions.position(place)

    def note_turns(self, place: LogPlace, turns: OpenTurns) -> None:
        """See `LogReader.note_turns`."""
        self.partitions.note_turns(place, turns)

    def await_log(self, key: SessionKey, told: Callable[[SessionActivity], None]) -> None:
        """See `SessionReader.await_log`."""
        self.awaited[key] = told

    def await_no_more(self, key: SessionKey) -> None:
        """See `SessionReader.await_no_more`."""
        self.awaited.pop(key, None)

    def attached(self, key: SessionKey) -> None:
        """See `SessionReader.attached`: everything is followed all the time."""

    def prompted(self, key: SessionKey) -> None:
        """See `SessionReader.prompted`."""

    def tick(self, now_s: float) -> tuple[int, int]:
        """See `SessionReader.tick`: nothing is left out."""
        return len(self.partitions.by_name), 0


class FollowedFetch(FetchedPartition):
    """An answer with ready-made records."""

    __slots__ = ("log",)

    def __init__(self, name: tuple[str, int], log: list[LogRecord]) -> None:
        super().__init__(name, 0, 0, b"")
        object.__setattr__(self, "log", log)

    def decoded(self, from_offset: int, *, dense: bool = False) -> Decoded:
        """See `FetchedPartition.decoded`."""
        log: list[LogRecord] = self.log  # type: ignore[attr-defined]  # set past the frozen base
        return Decoded(log[from_offset:], max(from_offset, len(log)))
