"""The Kafka side of the analytics writer: batches per partition, and commits that carry a plan.

Ownership changes at any await (aiokafka rebalances in the background), so every assignment has an epoch: what was
read or begun in an earlier epoch is dropped, and each partition is sought anew to its commit. A commit of a member
that lost its place is refused by the broker, which is what keeps two writers from planning the same range.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata

from infra.async_waits import end_tasks
from infra.decisions.backoff import Backoff
from infra.kafka.connection import aiokafka_options
from infra.kafka.lost_range import LostRange
from infra.kafka.readable_client import read_what_can_be_read
from infra.kafka.sparse_metadata import without_creation
from infra.settings import Settings

__all__ = ["RECORDS_BACKOFF", "Batch", "CommitMark", "ConsumerLimits", "OwnershipLost", "RecordsConsumer"]

log = structlog.get_logger(__name__)

ROLE: Final = "analytics"
CALL_S: Final = 30.0
STOP_S: Final = 2.0
RECORDS_BACKOFF: Final = Backoff(0.5)
RETRY_BACKOFF_MS: Final = 300  # aiokafka logs every attempt while no broker answers
POLL_INTERVAL_MS_MAX: Final = 7 * 24 * 3_600_000
"""A writer that waits for ClickHouse stays a member: nobody else could write either."""
PARTITION_FETCH_BYTES_MAX: Final = 1_048_576
LOST_MAX: Final = 1_024


class OwnershipLost(Exception):
    """The partitions were assigned anew; what was under way belongs to whoever has them now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerLimits:
    """How much one batch may hold."""

    rows_max: int = 2_000
    """Records of one poll, over all partitions."""
    wait_s: float = 0.5
    """Longest time that a record waits for company."""
    idle_s: float = 1.0
    """Longest time that a poll waits for a first record."""


@dataclass(frozen=True, slots=True)
class CommitMark:
    """Where a partition stands: the offset to go on from, and what its commit says."""

    offset: int
    metadata: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Records of one partition, in offset order."""

    partition: int
    records: list[Any]


class RecordsConsumer:
    """One member of the group `tokenwire-analytics` on `tokenwire.records`."""

    def __init__(self, settings: Settings, limits: ConsumerLimits | None = None) -> None:
        names = settings.topic_names
        self.topic = names.records
        self._limits = limits or ConsumerLimits()
        self.watch = AssignmentListener()
        self.lost: deque[LostRange] = deque()
        """What was passed over because it can't be read, and nobody has told of yet; at most LOST_MAX."""
        self.consumer: Any = AIOKafkaConsumer(
            group_id=names.member(ROLE),
            client_id=names.member(ROLE),
            enable_auto_commit=False,
            retry_backoff_ms=RETRY_BACKOFF_MS,
            auto_offset_reset="earliest",
            max_poll_interval_ms=POLL_INTERVAL_MS_MAX,
            max_partition_fetch_bytes=PARTITION_FETCH_BYTES_MAX,
            session_timeout_ms=int(settings.session_timeout_s * 1_000),
            heartbeat_interval_ms=int(settings.heartbeat_interval_s * 1_000),
            fetch_max_wait_ms=int(self._limits.wait_s * 1_000),
            **aiokafka_options(settings),
        )
        without_creation(self.consumer._client)
        read_what_can_be_read(self.consumer, self.note_lost, is_dense=names.is_dense)

    @property
    def epoch(self) -> int:
        """Counts assignments; work begun in an earlier one is void."""
        return self.watch.epoch

    async def start(self) -> None:
        """Join the group. Raises aiokafka's KafkaConnectionError where no broker answers."""
        self.consumer.subscribe([self.topic], listener=self.watch)
        await self.consumer.start()

    async def stop(self) -> None:
        """Leave the group, as far as that takes no longer than STOP_S.

        In a task of its own: while the broker is away, aiokafka lets the cancels of its own tasks out of its `stop`.
        """
        stopping = asyncio.create_task(self.consumer.stop(), name="records-stop")
        await asyncio.wait({stopping}, timeout=STOP_S)
        (failure,) = await asyncio.gather(stopping, return_exceptions=True) if stopping.done() else (TimeoutError(),)
        await end_tasks(stopping)
        if failure is not None:
            log.warning("consumer_stop_failed", error=type(failure).__name__)

    def note_lost(self, lost: LostRange) -> None:
        """Offsets were passed over. Of more than LOST_MAX at once the newest are told by the log alone."""
        if len(self.lost) < LOST_MAX:
            self.lost.append(lost)

    def take_fresh(self) -> list[int]:
        """Partitions assigned since the last call; each must be placed before it is polled."""
        fresh, self.watch.fresh = self.watch.fresh, set()
        return sorted(fresh)

    async def place(self, partition: int) -> CommitMark:
        """Seek to the commit of a partition, or to its beginning, and say what the commit holds."""
        place = TopicPartition(self.topic, partition)
        coordinator = self.consumer._coordinator  # the public call returns the offset without its metadata
        committed = await self.guarded(coordinator.fetch_committed_offsets([place]))
        mark = committed.get(place)
        if mark is not None and mark.offset >= 0:
            self.consumer.seek(place, mark.offset)
            return CommitMark(mark.offset, mark.metadata or "")
        await self.guarded(self.consumer.seek_to_beginning(place))
        return CommitMark(await self.guarded(self.consumer.position(place)), "")

    async def poll(self) -> list[Batch]:
        """Records as they come, up to a full batch or until the first one has waited long enough.

        Raises OwnershipLost: what was read will be read again.
        """
        epoch = self.epoch
        gathered: dict[Any, list[Any]] = {}
        loop = asyncio.get_running_loop()
        count, ends_s = 0, loop.time() + self._limits.idle_s
        while count < self._limits.rows_max and (left_s := ends_s - loop.time()) > 0:
            found = await self.consumer.getmany(
                timeout_ms=int(left_s * 1_000) + 1, max_records=self._limits.rows_max - count
            )
            self.require(epoch)
            if found and count == 0:
                ends_s = loop.time() + self._limits.wait_s
            for place, records in found.items():
                gathered.setdefault(place, []).extend(records)
                count += len(records)
        return [Batch(place.partition, records) for place, records in gathered.items()]

    async def read_range(self, partition: int, first: int, last: int) -> list[Any]:
        """The records first … last, fewer where the log no longer has them. The position is last + 1 afterwards.

        Raises OwnershipLost.
        """
        epoch, place = self.epoch, TopicPartition(self.topic, partition)
        records: list[Any] = []
        self.consumer.seek(place, first)
        ends = await self.guarded(self.consumer.end_offsets([place]))
        while await self.guarded(self.consumer.position(place)) <= min(last, ends[place] - 1):
            found = await self.guarded(self.consumer.getmany(place, timeout_ms=1_000))
            self.require(epoch)
            records += [record for record in found.get(place, []) if record.offset <= last]
        self.consumer.seek(place, last + 1)
        return records

    async def commit(self, partition: int, offset: int, metadata: str, *, epoch: int) -> None:
        """Commit, trying until the broker answers. Raises OwnershipLost.

        Cancellation: the commit may have been taken.
        """
        mark = {TopicPartition(self.topic, partition): OffsetAndMetadata(offset, metadata)}
        while True:
            self.require(epoch)
            try:
                await self.guarded(self.consumer.commit(mark))
                return
            except (CommitFailedError, IllegalStateError) as error:
                raise OwnershipLost(str(error)) from error
            except (KafkaError, TimeoutError) as error:
                log.warning("commit_failed", partition=partition, error=type(error).__name__)
                await asyncio.sleep(RECORDS_BACKOFF.pause_s())

    def backlog(self, marks: dict[int, int]) -> int:
        """Records on the log of the given partitions behind their marks, as far as known."""
        behind = 0
        for partition, offset in marks.items():
            place = TopicPartition(self.topic, partition)
            if place in self.consumer.assignment():
                behind += max(0, (self.consumer.highwater(place) or 0) - offset)
        return behind

    def require(self, epoch: int) -> None:
        """Raise OwnershipLost unless the assignment is still the one of that epoch."""
        if self.epoch != epoch:
            raise OwnershipLost("assigned anew")

    async def guarded(self, call: Any) -> Any:
        async with asyncio.timeout(CALL_S):
            return await call


class AssignmentListener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """Counts assignments and remembers what came with the newest."""

    def __init__(self) -> None:
        self.epoch = 0
        self.fresh: set[int] = set()

    def on_partitions_revoked(self, revoked: Any) -> None:
        self.epoch += 1
        self.fresh = set()

    def on_partitions_assigned(self, assigned: Any) -> None:
        self.epoch += 1
        self.fresh = {place.partition for place in assigned}
        log.info("records_assigned", partitions=sorted(self.fresh))
