"""Fetches, from one broker, the partitions that it leads, over one incremental fetch session (KIP-227).

Kafka's Python clients repeat every partition in every fetch; with a session the broker remembers them, and a request
names only what moved (`decisions/fetch_session.py`). Requests of one session follow each other, so a log that joins
while one waits at the broker would wait as well: such joiners are read by a sessionless fetch on a second connection
until the session's next request takes them in. Both loops feed the same positions, and what came twice is cut off.

A request that fails is tried once more, since a connection may have grown old; a second failure hands the partitions
back (`FetchedBy.node_failed`), to be asked of whoever leads them then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Final, Protocol

import structlog
from aiokafka.client import ConnectionGroup
from aiokafka.errors import FetchSessionIdNotFound, InvalidFetchSessionEpoch, for_code

from gateway.decisions.fetch_session import FetchSession, pause_s
from gateway.followed_partitions import FollowedPartitions
from gateway.kafka_fetch import FetchedPartition, PartitionName, SessionFetchRequest, answer_of, sessionless

__all__ = ["FetchedBy", "LeaderFetcher"]

log = structlog.get_logger(__name__)

WAIT_MS: Final = 100
"""How long the broker may hold a request without news; also the longest that a join can wait."""
REQUEST_BYTES_MAX: Final = 1_048_576
PARTITION_BYTES_MAX: Final = 65_536
DELIVERED_BYTES_MAX: Final = 32_768
"""Delivered in one go before other work gets its turn."""
RETRY_PAUSE_S: Final = 0.05
RETRY_PAUSE_MAX_S: Final = 1.0
FAILURES_MAX: Final = 2


class FetchedBy(Protocol):
    """The reader that the fetcher works for (`gateway.fetch_session_reader.FetchSessionReader`)."""

    partitions: FollowedPartitions
    refusals: int

    async def answered(self, node: int, request: Any, group: int) -> Any:
        """A broker's answer, or None where there is none."""
        ...

    def node_failed(self, node: int) -> None:
        """The broker does not answer: take its partitions away."""
        ...

    def partition_refused(self, partition: FetchedPartition) -> None:
        """The broker does not serve a partition."""
        ...


class LeaderFetcher:
    """One broker's. `names` are the partitions to be asked of it, a live view that others change."""

    def __init__(self, node: int, names: dict[PartitionName, None], reader: FetchedBy) -> None:
        self.node = node
        self.names = names
        self.reader = reader
        self.session: FetchSession[PartitionName] = FetchSession()
        self.joining: dict[PartitionName, None] = {}
        """Given to this broker, but not part of a session's request yet."""
        self.changed = asyncio.Event()
        self.joined = asyncio.Event()
        self.failures = 0

    def join(self, name: PartitionName) -> None:
        """A partition was added to `names`."""
        self.joining[name] = None
        self.changed.set()
        self.joined.set()

    async def follow_session(self) -> None:
        """The session's loop: one request after the other. Runs until cancelled."""
        while True:
            by_name = self.reader.partitions.by_name
            wanted = {name: by_name[name].position for name in self.names if name in by_name}
            if not wanted:
                self.changed.clear()
                await self.changed.wait()
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
        """The joiners' loop: asks for those that the session's waiting request does not cover. Until cancelled."""
        while True:
            await self.joined.wait()
            await asyncio.sleep(0)  # an idle session takes them in at once, and then there is nothing to do here
            by_name = self.reader.partitions.by_name
            asked = {name: by_name[name].position for name in self.joining if name in self.names and name in by_name}
            if not asked:
                self.joining.clear()
                self.joined.clear()
                continue
            request = sessionless(asked, wait_ms=WAIT_MS, bytes_max=PARTITION_BYTES_MAX)
            response = await self.answered(request, ConnectionGroup.COORDINATION)
            if response is not None:
                error_code, _, fetched = answer_of(response)
                if not error_code:
                    await self.take_all(fetched, asked)

    async def answered(self, request: SessionFetchRequest, group: ConnectionGroup) -> Any:
        """The broker's answer, or None: then its partitions may have been taken away."""
        response = await self.reader.answered(self.node, request, group)
        if response is not None:
            self.failures = 0
            return response
        self.failures += 1
        if self.failures >= FAILURES_MAX:
            self.reader.node_failed(self.node)
        await asyncio.sleep(min(RETRY_PAUSE_MAX_S, RETRY_PAUSE_S * 2 ** min(self.failures, 8)))
        return None

    async def take_all(self, fetched: Iterator[FetchedPartition], asked: dict[PartitionName, int]) -> None:
        """Deliver an answer, giving the sockets a turn now and then: a backlog must not pile up in their outboxes."""
        bytes_taken = 0
        for partition in fetched:
            if partition.error_code:
                if partition.name in self.names:
                    self.reader.partition_refused(partition)
            elif partition.raw and partition.name in asked:
                self.reader.partitions.take(partition, asked[partition.name])
                bytes_taken += len(partition.raw)
                if bytes_taken >= DELIVERED_BYTES_MAX:
                    bytes_taken = 0
                    await asyncio.sleep(0)

    async def session_refused(self, error_code: int) -> None:
        """The broker has evicted the session or counts otherwise: begin with a full fetch again."""
        error = for_code(error_code)
        self.session.lost()
        self.reader.refusals += 1
        if error not in (FetchSessionIdNotFound, InvalidFetchSessionEpoch):
            log.warning("fetch_refused", error=error.__name__)
        await asyncio.sleep(RETRY_PAUSE_S)
