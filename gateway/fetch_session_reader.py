"""Follows the ends of many session logs, each at the broker that leads it.

Each broker has a fetcher of its own (`leader_fetcher.py`); here partitions are given to them, and given anew when a
leader moves, a broker fails or comes back (`decisions/leader_map.py`). Leaders are looked up in batches and kept here
and not in the client, whose knowledge of topics would grow with every session. Where the cluster is one broker there is
nothing to look up.

An outage closes nothing: look-ups are repeated with growing pauses, positions stay, followers hear nothing but the
records once they come. Bytes per request are bounded, so is what is in memory.

Following a place twice under one key replaces the follower; the hub registry keeps one hub per session.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, Final

import structlog
from aiokafka.errors import KafkaError, OffsetOutOfRangeError, UnknownTopicOrPartitionError, for_code
from aiokafka.protocol.metadata import MetadataRequest

from gateway.decisions.leader_map import LeaderMap
from gateway.decisions.resume_cursor import GapReason
from gateway.followed_partitions import FollowedPartitions
from gateway.kafka_fetch import FetchedPartition, PartitionName
from gateway.leader_fetcher import LeaderFetcher
from gateway.log_reader import LogFollower
from infra.clock import Clock
from infra.kafka.connection import aiokafka_options
from infra.kafka.sparse_metadata import SparseMetadataClient
from infra.settings import Settings
from schemas.identifiers import SessionKey
from schemas.topics import LogPlace

__all__ = ["FetchSessionReader"]

log = structlog.get_logger(__name__)

REQUEST_TIMEOUT_S: Final = 5.0
RETRY_PAUSE_S: Final = 0.05
RETRY_PAUSE_MAX_S: Final = 1.0
OUTAGES_MIN: Final = 3
BEGIN_ANEW_AFTER: Final = 8
"""Failures in a row after which the brokers known are given up for those of the settings."""
PARTITION_PAUSE_S: Final = 0.1
"""A partition that its broker refuses, or that has no leader, is looked up again after so long."""
UNKNOWN_TOPIC_S: Final = 10.0
"""A topic unknown for so long is gone; a shorter time is a broker that has not heard of it yet."""
LOOK_UPS: Final = 2
"""The look-ups' connection, beside aiokafka's groups 0 and 1: they must not wait behind a fetch that waits."""


class FetchSessionReader:
    """A `LogReader` over all brokers of a cluster."""

    def __init__(self, settings: Settings, clock: Clock, *, client_id: str = "tokenwire-gateway-follow") -> None:
        self.options = aiokafka_options(settings) | {
            "client_id": client_id,
            "request_timeout_ms": int(REQUEST_TIMEOUT_S * 1000),
        }
        self.clock = clock
        self.partitions = FollowedPartitions()
        self.leaders: LeaderMap[PartitionName] = LeaderMap()
        self.fetchers: dict[int, LeaderFetcher] = {}
        self.unplaced = asyncio.Event()
        self.connecting = asyncio.Lock()
        self.client: SparseMetadataClient | None = None
        self.tasks: list[asyncio.Task[None]] = []
        self.outages = 0
        self.client_failures = 0
        """Failures in a row since the connection was made anew."""
        self.refusals = 0
        """Requests that a broker answered with "no such session": each one costs a full fetch."""

    @property
    def reachable(self) -> bool:
        """False once several requests in a row have failed; one alone may be a connection that had grown old."""
        return self.outages < OUTAGES_MIN

    async def start(self) -> None:
        """Start following; the brokers need not be there yet."""
        self.run(self.place_all(), "fetch-placing")

    async def stop(self) -> None:
        """End all loops and close the connections."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks = []
        self.fetchers = {}
        await self.disconnect()

    def follow(self, place: LogPlace, key: SessionKey, offset: int, follower: LogFollower) -> bool:
        """See `LogReader.follow`."""
        name = (place.topic, place.partition)
        if not self.partitions.follow(place, key, offset, follower):
            return False
        if name not in self.leaders.node_of:
            self.leaders.joined(name)
            self.place_on_sole_broker([name])
            self.unplaced.set()
        return True

    def unfollow(self, place: LogPlace, key: SessionKey) -> None:
        """See `LogReader.unfollow`."""
        self.partitions.unfollow(place, key)
        name = (place.topic, place.partition)
        if name not in self.partitions.by_name:
            self.leaders.left(name)

    def position(self, place: LogPlace) -> int | None:
        """See `LogReader.position`."""
        return self.partitions.position(place)

    # ---- Giving partitions to brokers

    async def place_all(self) -> None:
        """Look up the leaders of those that have none. Runs until cancelled."""
        while True:
            await self.until_due()
            due = self.leaders.due(self.clock.monotonic_s())
            if not due:
                continue
            try:
                if self.client_failures >= BEGIN_ANEW_AFTER:
                    await self.disconnect()
                client = await self.connected()
                if not self.place_on_sole_broker(due):
                    await self.look_up(client, due)
            except (KafkaError, OSError, TimeoutError) as error:
                await self.failed(error)

    async def until_due(self) -> None:
        """Until something is to be looked up."""
        due_s = self.leaders.next_due_s()
        if due_s is None:
            self.unplaced.clear()
            await self.unplaced.wait()
            return
        left_s = due_s - self.clock.monotonic_s()
        if left_s > 0:
            self.unplaced.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self.unplaced.wait()

    def place_on_sole_broker(self, names: list[PartitionName]) -> bool:
        """Where a cluster is one broker, that is the leader of all; False where it is not."""
        nodes = [broker.nodeId for broker in self.client.cluster.brokers()] if self.client is not None else []
        if len(nodes) != 1:
            return False
        for name in names:
            self.place(name, nodes[0])
        return True

    async def look_up(self, client: SparseMetadataClient, names: list[PartitionName]) -> None:
        """Ask who leads these. Raises KafkaError, TimeoutError, OSError."""
        topics = sorted({topic for topic, _ in names})
        request = MetadataRequest(topics, allow_auto_topic_creation=False)
        async with asyncio.timeout(REQUEST_TIMEOUT_S):
            response = await client.send(client.get_random_node(), request, group=LOOK_UPS)
        self.answers()
        leaders: dict[PartitionName, int] = {}
        unknown: set[str] = set()
        for error_code, topic, _, partitions in response.topics:
            if for_code(error_code) is UnknownTopicOrPartitionError:
                unknown.add(topic)
            for _, partition, leader, *_ in partitions:
                leaders[topic, partition] = leader
        now_s = self.clock.monotonic_s()
        for name in names:
            node = leaders.get(name, -1)
            if node >= 0:
                self.place(name, node)
            elif name[0] in unknown:
                self.topic_unknown(name, now_s)
            else:
                self.leaders.not_found(name, due_s=now_s + PARTITION_PAUSE_S)

    def place(self, name: PartitionName, node: int) -> None:
        if not self.leaders.placed(name, node):
            return
        fetcher = self.fetchers.get(node)
        if fetcher is None:
            fetcher = self.fetchers[node] = LeaderFetcher(node, self.leaders.by_node[node], self)
            self.run(fetcher.follow_session(), f"fetch-session-{node}")
            self.run(fetcher.follow_joiners(), f"fetch-joiners-{node}")
        fetcher.join(name)

    def topic_unknown(self, name: PartitionName, now_s: float) -> None:
        """It may just have been created, or it is gone."""
        if self.partitions.fail(name, now_s=now_s) > UNKNOWN_TOPIC_S:
            self.lose(name, "log_lost")
        else:
            self.leaders.displaced(name, due_s=now_s + PARTITION_PAUSE_S)
            self.leaders.not_found(name, due_s=now_s + PARTITION_PAUSE_S)

    def lose(self, name: PartitionName, reason: GapReason) -> None:
        self.leaders.left(name)
        self.partitions.lose(name, reason)

    # ---- What fetchers report

    def partition_refused(self, partition: FetchedPartition) -> None:
        """A broker does not serve a partition: expired, gone, or led by another one now."""
        error, name = for_code(partition.error_code), partition.name
        if error is OffsetOutOfRangeError:
            followed = self.partitions.by_name.get(name)
            expired = followed is not None and followed.position < partition.log_start
            self.lose(name, "expired" if expired else "log_lost")
            return
        now_s = self.clock.monotonic_s()
        if error is UnknownTopicOrPartitionError:
            self.topic_unknown(name, now_s)
        else:
            self.leaders.displaced(name, due_s=now_s + PARTITION_PAUSE_S)
        self.unplaced.set()

    def node_failed(self, node: int) -> None:
        """A broker does not answer: others may lead its partitions by now."""
        moved = self.leaders.failed(node, due_s=self.clock.monotonic_s() + PARTITION_PAUSE_S)
        if moved:
            log.warning("leader_lost", node=node, partitions=moved)
        self.unplaced.set()

    async def answered(self, node: int, request: Any, group: int) -> Any:
        """A broker's answer, or None where there is none. Bounded by REQUEST_TIMEOUT_S and some."""
        try:
            client = await self.connected()
            response = await client.send(node, request, group=group)
        except (KafkaError, OSError, TimeoutError) as error:
            self.note_outage(error)
            return None
        self.answers()
        return response

    # ---- The connection

    async def failed(self, error: Exception) -> None:
        """A look-up failed: wait, longer each time."""
        self.note_outage(error)
        await asyncio.sleep(min(RETRY_PAUSE_MAX_S, RETRY_PAUSE_S * 2 ** min(self.outages, 8)))

    def note_outage(self, error: Exception) -> None:
        self.outages += 1
        self.client_failures += 1
        if self.outages == OUTAGES_MIN:
            log.warning("broker_unreachable", error=type(error).__name__)

    def answers(self) -> None:
        if not self.reachable:
            log.info("broker_reachable_again", failures=self.outages)
        self.outages = self.client_failures = 0

    async def connected(self) -> SparseMetadataClient:
        async with self.connecting:
            if self.client is None:
                client = SparseMetadataClient(**self.options)
                try:
                    await client.bootstrap()
                except BaseException:
                    await client.close()
                    raise
                self.client, self.client_failures = client, 0
            return self.client

    async def disconnect(self) -> None:
        client, self.client = self.client, None
        if client is not None:
            await client.close()

    def run(self, loop: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(loop, name=name)  # owned: see stop
        task.add_done_callback(say_why_it_ended)
        self.tasks.append(task)


def say_why_it_ended(task: asyncio.Task[None]) -> None:
    """These loops end only when they are stopped."""
    if not task.cancelled() and task.exception() is not None:
        log.error("reader_loop_failed", loop=task.get_name(), exc_info=task.exception())
