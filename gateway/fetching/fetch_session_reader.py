"""Follows the ends of many session logs, each at the broker that leads it.

A broker is asked over a fetch session of its own (`leader_fetcher.py`), so a broker that fails costs only the logs it
leads, and those only until another one leads them: every refusal and every failed request puts the leader in doubt,
doubtful leaders are looked up at a bounded rate (`decisions/leader_assignment.py`), and a log that has moved is read on
from its own position. All positions lie in one place, so what an old leader still answers is delivered or cut off, as
it happens to be new or not; nothing is skipped and nothing comes twice.

An outage closes nothing: followers hear nothing but the records once they come. Bytes per request are bounded, and in
all of them together.

Following a place twice under one key replaces the follower; the hub registry keeps one hub per session.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog
from aiokafka.errors import (
    CorruptRecordException,
    KafkaError,
    OffsetOutOfRangeError,
    UnknownTopicOrPartitionError,
    for_code,
)

from gateway.fetching.decisions.leader_assignment import LeaderAssignment
from gateway.fetching.decisions.open_turns import OpenTurns
from gateway.fetching.decisions.resume_cursor import GapReason
from gateway.fetching.followed_partitions import FollowedPartitions
from gateway.fetching.leader_fetcher import (
    OUTAGE_BACKOFF,
    PARTITION_BYTES_MAX,
    PARTITION_PAUSE_S,
    LeaderFetcher,
    reader_loop,
)
from gateway.fetching.log_reader import LogFollower
from infra.async_waits import end_tasks, set_within
from infra.clock import Clock
from infra.kafka.cluster_directory import ClusterDirectory, LeaderAnswer
from infra.kafka.connection import aiokafka_options
from infra.kafka.fetch_request import FetchedPartition, PartitionName
from infra.kafka.lost_range import REFUSED, LostRange
from infra.kafka.node_connection import connection_options
from infra.kafka.record_batches import Unreadable
from infra.settings import Settings
from schemas.identifiers import SessionKey
from schemas.topics import LogPlace

__all__ = ["FetchSessionReader"]

log = structlog.get_logger(__name__)

REQUEST_BYTES_MAX: Final = 1_048_576
ALL_REQUESTS_BYTES_MAX: Final = 4_194_304
REQUEST_TIMEOUT_S: Final = 5.0
LOOK_UP_MAX: Final = 200
"""Partitions asked about in one request: its answer is decoded in one go."""
OUTAGES_MIN: Final = 3
UNKNOWN_TOPIC_S: Final = 10.0
"""A topic unknown for so long is gone; a shorter time is a broker that has not heard of it yet."""


class FetchSessionReader:
    """A `LogReader` over all brokers of a cluster."""

    def __init__(
        self, settings: Settings, clock: Clock, *, on_lost: Callable[[LostRange], None] = lambda _: None
    ) -> None:
        options = aiokafka_options(settings)
        client_id = settings.topic_names.member("gateway-follow")
        self.options = connection_options(options, client_id=client_id, timeout_s=REQUEST_TIMEOUT_S)
        self._clock = clock
        self._on_lost = on_lost
        """Told where a followed log cannot be read on."""
        self._partitions = FollowedPartitions(settings.topic_names.is_dense)
        self.assignment: LeaderAssignment[PartitionName] = LeaderAssignment()
        self.directory = ClusterDirectory(settings.bootstrap_servers, self.options)
        self.fetchers: dict[int, LeaderFetcher] = {}
        """A node that was a leader once keeps its place here; it costs nothing while it leads nothing."""
        self._doubted = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._failed_look_ups = 0

    @property
    def reachable(self) -> bool:
        """False while all brokers that are needed are known not to answer."""
        needed = [fetcher for fetcher in self.fetchers.values() if self.leads(fetcher.node)]
        if needed:
            return any(fetcher.reachable for fetcher in needed)
        return self._failed_look_ups < OUTAGES_MIN

    async def start(self) -> None:
        """Start following; no broker need be there yet."""
        self._looking = reader_loop(self.look_up_leaders(), "fetch-leaders")

    async def stop(self) -> None:
        """End all loops and close the connections."""
        await end_tasks(self._looking)
        self._looking = None
        await asyncio.gather(*(fetcher.stop() for fetcher in self.fetchers.values()))
        self.fetchers.clear()
        await self.directory.close()

    # ---- LogReader

    def follow(self, place: LogPlace, key: SessionKey, offset: int, follower: LogFollower) -> bool:
        """See `LogReader.follow`."""
        name = (place.topic, place.partition)
        is_new = name not in self._partitions.by_name
        if not self._partitions.follow(place, key, offset, follower):
            return False
        if is_new:
            node = self.assignment.follow(name, self._clock.monotonic_s())
            if node is None:
                self._doubted.set()
            else:
                self.fetcher(node).join(name)
        return True

    def unfollow(self, place: LogPlace, key: SessionKey) -> None:
        """See `LogReader.unfollow`."""
        self._partitions.unfollow(place, key)
        name = (place.topic, place.partition)
        if name not in self._partitions.by_name:
            self.assignment.drop(name)

    def position(self, place: LogPlace) -> int | None:
        """See `LogReader.position`."""
        return self._partitions.position(place)

    def note_turns(self, place: LogPlace, turns: OpenTurns) -> None:
        """See `LogReader.note_turns`."""
        self._partitions.note_turns(place, turns)

    # ---- What the fetchers read and tell

    def wanted(self, node: int) -> dict[PartitionName, int]:
        """See `LedPartitions.wanted`."""
        return self._partitions.wanted(self.assignment.led_by(node), self._clock.monotonic_s())

    def leads(self, node: int) -> bool:
        """See `LedPartitions.leads`."""
        return bool(self.assignment.led_by(node))

    def position_at(self, node: int, name: PartitionName) -> int | None:
        """See `LedPartitions.position_at`."""
        if name not in self.assignment.led_by(node):
            return None
        return self._partitions.wanted([name], self._clock.monotonic_s()).get(name)

    def bytes_max(self) -> int:
        """See `LedPartitions.bytes_max`."""
        needed = sum(self.leads(node) for node in self.fetchers)
        return max(PARTITION_BYTES_MAX, min(REQUEST_BYTES_MAX, ALL_REQUESTS_BYTES_MAX // max(1, needed)))

    def take(self, fetched: FetchedPartition, asked_from: int) -> None:
        """See `LedPartitions.take`."""
        fault = self._partitions.take(fetched, asked_from)
        if fault is not None:
            self.cannot_read(fetched.name, fault)

    def cannot_read(self, name: PartitionName, fault: Unreadable) -> None:
        """Ask again, and then say that it is lost: whoever opens the log anew is taken past it (`log_client.py`)."""
        now_s = self._clock.monotonic_s()
        if self._partitions.give_up(name, fault, now_s=now_s, pause_s=PARTITION_PAUSE_S):
            lost = LostRange.of(*name, self._partitions.by_name[name].position, fault)
            log.error("followed_log_unreadable", **lost.told())
            self._on_lost(lost)
            self.lose(name, "log_lost")

    def refused(self, node: int, fetched: FetchedPartition) -> None:
        """See `LedPartitions.refused`. What was refused by a node that leads it no longer is of no account."""
        name, error = fetched.name, for_code(fetched.error_code)
        if name not in self.assignment.led_by(node):
            return
        if error is OffsetOutOfRangeError:
            expired = self._partitions.by_name[name].position < fetched.log_start
            self.lose(name, "expired" if expired else "log_lost")
            return
        if error is CorruptRecordException:
            self.cannot_read(name, REFUSED)
            return
        self.fail(name, is_unknown=error is UnknownTopicOrPartitionError)
        self.assignment.doubt(name, self._clock.monotonic_s())
        self._doubted.set()

    def failed(self, node: int) -> None:
        """See `LedPartitions.failed`."""
        self.assignment.doubt_node(node, self._clock.monotonic_s())
        self._doubted.set()

    # ---- Leaders

    async def look_up_leaders(self) -> None:
        """Looks up who is in doubt, one request after the other."""
        while True:
            asked = self.assignment.to_ask(self._clock.monotonic_s(), LOOK_UP_MAX)
            if not asked:
                self._failed_look_ups = 0
                await self.until_due()
                continue
            try:
                answer = await self.directory.look_up({topic for topic, _ in asked})
            except (KafkaError, OSError, TimeoutError) as error:
                self._failed_look_ups += 1
                if self._failed_look_ups == 1:
                    log.warning("leaders_unknown", error=type(error).__name__)
                await asyncio.sleep(OUTAGE_BACKOFF.pause_s(self._failed_look_ups))
                continue
            self._failed_look_ups = 0
            self.place(asked, answer)

    async def until_due(self) -> None:
        self._doubted.clear()
        await set_within(self._doubted, self.assignment.due_in(self._clock.monotonic_s()))

    def place(self, asked: list[PartitionName], answer: LeaderAnswer) -> None:
        """Move what is led by others now, and give up what has been gone for long."""
        moved = self.assignment.learned(asked, answer.leaders, answer.nodes, self._clock.monotonic_s())
        for name, node in moved.items():
            self._partitions.retry_now(name)
            self.fetcher(node).join(name)
        for name in asked:
            if name not in answer.leaders:
                self.fail(name, is_unknown=name[0] in answer.unknown)

    def fetcher(self, node: int) -> LeaderFetcher:
        """The node's fetcher, started when it is first needed."""
        if node not in self.fetchers:
            self.fetchers[node] = LeaderFetcher(node, self, self.directory.address_of, self.options)
            self.fetchers[node].start()
        return self.fetchers[node]

    def fail(self, name: PartitionName, *, is_unknown: bool) -> None:
        now_s = self._clock.monotonic_s()
        unknown_s = self._partitions.fail(name, now_s=now_s, pause_s=PARTITION_PAUSE_S, is_unknown=is_unknown)
        if unknown_s > UNKNOWN_TOPIC_S:
            self.lose(name, "log_lost")

    def lose(self, name: PartitionName, reason: GapReason) -> None:
        self.assignment.drop(name)
        self._partitions.lose(name, reason)
