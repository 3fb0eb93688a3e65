"""Follows the ends of many session logs over one incremental fetch session (KIP-227).

Kafka's Python clients repeat every partition in every fetch; with a session the broker remembers them, and a request
names only what moved (`decisions/fetch_session.py`). Requests of one session follow each other, so a log that joins
while one waits at the broker would wait as well: such joiners are read by a sessionless fetch on a second connection
until the session's next request takes them in. Both loops feed the same positions, and what came twice is cut off.

An outage closes nothing: the loops try again with growing pauses, positions stay, followers hear nothing but the
records once they come. Bytes per request are bounded, so is what is in memory. One broker: all partitions are asked
of the node that `node()` names; a reader per leader is what a cluster will need.

Following a place twice under one key replaces the follower; the hub registry keeps one hub per session.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any, Final

import structlog
from aiokafka.client import ConnectionGroup
from aiokafka.errors import (
    FetchSessionIdNotFound,
    InvalidFetchSessionEpoch,
    KafkaError,
    OffsetOutOfRangeError,
    UnknownTopicOrPartitionError,
    for_code,
)

from gateway.decisions.fetch_session import FetchSession, pause_s
from gateway.followed_partitions import FollowedPartitions
from gateway.kafka_fetch import FetchedPartition, PartitionName, SessionFetchRequest, answer_of, sessionless
from gateway.log_reader import LogFollower
from infra.clock import Clock
from infra.kafka.connection import aiokafka_options
from infra.kafka.sparse_metadata import SparseMetadataClient
from infra.settings import Settings
from schemas.identifiers import SessionKey
from schemas.topics import LogPlace

__all__ = ["FetchSessionReader"]

log = structlog.get_logger(__name__)

WAIT_MS: Final = 100
"""How long the broker may hold a request without news; also the longest that a join can wait."""
REQUEST_BYTES_MAX: Final = 1_048_576
PARTITION_BYTES_MAX: Final = 65_536
DELIVERED_BYTES_MAX: Final = 32_768
"""Delivered in one go before other work gets its turn."""
REQUEST_TIMEOUT_S: Final = 5.0
RETRY_PAUSE_S: Final = 0.05
RETRY_PAUSE_MAX_S: Final = 1.0
OUTAGES_MIN: Final = 3
PARTITION_PAUSE_S: Final = 0.1
"""A partition that the broker refuses is left out for so long."""
UNKNOWN_TOPIC_S: Final = 10.0
"""A topic unknown for so long is gone; a shorter time is a broker that has not heard of it yet."""


class FetchSessionReader:
    """A `LogReader` over one broker."""

    def __init__(self, settings: Settings, clock: Clock, *, client_id: str = "tokenwire-gateway-follow") -> None:
        self.options = aiokafka_options(settings) | {
            "client_id": client_id,
            "request_timeout_ms": int(REQUEST_TIMEOUT_S * 1000),
        }
        self.clock = clock
        self.partitions = FollowedPartitions()
        self.session: FetchSession[PartitionName] = FetchSession()
        self.joining: dict[PartitionName, None] = {}
        """Followed, but not part of a session's request yet."""
        self.changed = asyncio.Event()
        self.joined = asyncio.Event()
        self.connecting = asyncio.Lock()
        self.client: SparseMetadataClient | None = None
        self.tasks: list[asyncio.Task[None]] = []
        self.outages = 0
        self.refusals = 0
        """Requests that the broker answered with "no such session": each one costs a full fetch."""

    @property
    def reachable(self) -> bool:
        """False once several requests in a row have failed; one alone may be a connection that had grown old."""
        return self.outages < OUTAGES_MIN

    async def start(self) -> None:
        """Start following; the broker need not be there yet."""
        self.tasks = [
            asyncio.create_task(self.follow_session(), name="fetch-session"),
            asyncio.create_task(self.follow_joiners(), name="fetch-joiners"),
        ]

    async def stop(self) -> None:
        """End both loops and close the connections."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks = []
        await self.disconnect()

    def follow(self, place: LogPlace, key: SessionKey, offset: int, follower: LogFollower) -> bool:
        """See `LogReader.follow`."""
        name = (place.topic, place.partition)
        is_new = name not in self.partitions.by_name
        if not self.partitions.follow(place, key, offset, follower):
            return False
        if is_new:
            self.joining[name] = None
            self.changed.set()
            self.joined.set()
        return True

    def unfollow(self, place: LogPlace, key: SessionKey) -> None:
        """See `LogReader.unfollow`."""
        self.partitions.unfollow(place, key)
        name = (place.topic, place.partition)
        if name not in self.partitions.by_name:
            self.joining.pop(name, None)

    def position(self, place: LogPlace) -> int | None:
        """See `LogReader.position`."""
        return self.partitions.position(place)

    async def follow_session(self) -> None:
        """The session's loop: one request after the other."""
        while True:
            wanted = self.partitions.wanted(self.clock.monotonic_s())
            if not wanted:
                await self.wait_for_work()
                continue
            plan = self.session.next_request(wanted)
            for name in plan.changed:
                self.joining.pop(name, None)
            request = SessionFetchRequest(
                plan.changed,
                plan.forgotten,
                session_id=plan.session_id,
                epoch=plan.epoch,
                wait_ms=WAIT_MS,
                bytes_max=REQUEST_BYTES_MAX,
                partition_bytes_max=PARTITION_BYTES_MAX,
            )
            response = await self.answered(request, ConnectionGroup.DEFAULT)
            if response is None:
                self.session.lost()
                continue
            error_code, session_id, fetched = answer_of(response)
            if error_code:
                await self.session_refused(error_code)
                continue
            self.session.answered(session_id)
            await self.take_all(fetched, self.session.known or plan.changed)
            await asyncio.sleep(pause_s(len(wanted)))

    async def follow_joiners(self) -> None:
        """The joiners' loop: asks for those that the session's waiting request does not cover."""
        while True:
            await self.joined.wait()
            await asyncio.sleep(0)  # an idle session takes them in at once, and then there is nothing to do here
            asked = {
                name: partition.position
                for name in self.joining
                if (partition := self.partitions.by_name.get(name)) is not None
            }
            if not asked:
                self.joined.clear()
                continue
            request = sessionless(asked, wait_ms=WAIT_MS, bytes_max=PARTITION_BYTES_MAX)
            response = await self.answered(request, ConnectionGroup.COORDINATION)
            if response is not None:
                error_code, _, fetched = answer_of(response)
                if not error_code:
                    await self.take_all(fetched, asked)

    async def take_all(self, fetched: Iterator[FetchedPartition], asked: dict[PartitionName, int]) -> None:
        """Deliver an answer, giving the sockets a turn now and then: a backlog must not pile up in their outboxes."""
        bytes_taken = 0
        for partition in fetched:
            if partition.error_code:
                self.partition_refused(partition)
            elif partition.raw and partition.name in asked:
                self.partitions.take(partition, asked[partition.name])
                bytes_taken += len(partition.raw)
                if bytes_taken >= DELIVERED_BYTES_MAX:
                    bytes_taken = 0
                    await asyncio.sleep(0)

    async def session_refused(self, error_code: int) -> None:
        """The broker has evicted the session or counts otherwise: begin with a full fetch again."""
        error = for_code(error_code)
        self.session.lost()
        self.refusals += 1
        if error not in (FetchSessionIdNotFound, InvalidFetchSessionEpoch):
            log.warning("fetch_refused", error=error.__name__)
        await asyncio.sleep(RETRY_PAUSE_S)

    def partition_refused(self, partition: FetchedPartition) -> None:
        error = for_code(partition.error_code)
        if error is OffsetOutOfRangeError:
            followed = self.partitions.by_name.get(partition.name)
            expired = followed is not None and followed.position < partition.log_start
            self.partitions.lose(partition.name, "expired" if expired else "log_lost")
            return
        now_s = self.clock.monotonic_s()
        failing_s = self.partitions.fail(partition.name, now_s=now_s, pause_s=PARTITION_PAUSE_S)
        if error is UnknownTopicOrPartitionError and failing_s > UNKNOWN_TOPIC_S:
            self.partitions.lose(partition.name, "log_lost")

    async def wait_for_work(self) -> None:
        """Until something is followed, or a partition that was left out is due again."""
        self.outages = 0  # nothing is asked, so nothing is known to fail
        self.changed.clear()
        limit_s = PARTITION_PAUSE_S if len(self.partitions) else None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await self.changed.wait()

    async def answered(self, request: SessionFetchRequest, group: ConnectionGroup) -> Any:
        """The broker's answer, or None after a pause when there is none."""
        try:
            client = await self.connected()
            node = client.get_random_node()
            response = await client.send(node, request, group=group)
        except (KafkaError, OSError, TimeoutError) as error:
            self.outages += 1
            if self.outages == 1:
                log.warning("broker_unreachable", error=type(error).__name__)
            await asyncio.sleep(min(RETRY_PAUSE_MAX_S, RETRY_PAUSE_S * 2 ** min(self.outages, 8)))
            return None
        if self.outages:
            log.info("broker_reachable_again", failures=self.outages)
            self.outages = 0
        return response

    async def connected(self) -> SparseMetadataClient:
        async with self.connecting:
            if self.client is None:
                client = SparseMetadataClient(**self.options)
                try:
                    await client.bootstrap()
                except BaseException:
                    await client.close()
                    raise
                self.client = client
            return self.client

    async def disconnect(self) -> None:
        client, self.client = self.client, None
        if client is not None:
            await client.close()
