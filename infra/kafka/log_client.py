"""Reads of a partition at a known offset: history, recovery, catch-up, read-back of an append.

Each fetch stands alone (no consumer, no group, no fetch session), so any number of readers at any positions share
one connection. Whoever follows the end of many partitions uses a fetch session instead.

What cannot be read (`record_batches.py`) is asked for again (`Unreadable.tries_max`), then passed over: reading goes on
behind it, or, where its end is not known, at the first offset that can be read, which is looked for in steps that
double. What was passed over is told: by the answer, to `on_lost`, and in the log. Offsets below the last stable one are
read, and only what was committed: an open transaction hides what comes after its begin.

    LogError
    ├── LogUnavailable      no broker answered in time; temporary
    ├── UnknownLog          no such topic
    └── OffsetOutOfRange    the offset is before the log's start or past its end
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias

import structlog
from aiokafka.errors import (
    CorruptRecordException,
    KafkaError,
    NoError,
    OffsetOutOfRangeError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.structs import TopicPartition

from infra.kafka.cluster_errors import ClusterUnavailable
from infra.kafka.connection import aiokafka_options
from infra.kafka.fetch_request import NOT_A_REPLICA, answer_of, sessionless
from infra.kafka.lost_range import (
    LEADER_BACKOFF,
    LEFT_OUT,
    PROBE_BYTES,
    REFUSED,
    KnownRanges,
    LostRange,
    next_readable,
    unthrottled,
)
from infra.kafka.record_batches import READ_COMMITTED, Decoded, LogRecord
from infra.kafka.sparse_metadata import SparseMetadataClient
from infra.settings import Settings

__all__ = [
    "READ_S",
    "REQUEST_TIMEOUT_S",
    "Fetched",
    "LogBounds",
    "LogClient",
    "LogError",
    "LogRecord",
    "LogUnavailable",
    "OffsetOutOfRange",
    "TellLost",
    "UnknownLog",
]

log = structlog.get_logger(__name__)

FETCH_BYTES_MAX: Final = 1_048_576
REQUEST_TIMEOUT_S: Final = 15.0
READ_S: Final = 180.0
"""How long what shows nothing is asked for: a place by one fetch, the rest of a log from one place on. Then the log is
unavailable, and nothing of it counts as lost."""
THROTTLED_PAUSE_S: Final = 1.0
"""Between looks at a log of which the broker shows nothing for now."""
EARLIEST: Final = -2
LATEST: Final = -1
PASSING_ON: Final = (NoError, OffsetOutOfRangeError, CorruptRecordException)
"""What asking again does not mend, or is asked again elsewhere."""


class LogError(ClusterUnavailable):
    """A log could not be read."""


class LogUnavailable(LogError):
    """No broker answered in time; try again later."""


class UnknownLog(LogError):
    """There is no such topic or partition."""


class OffsetOutOfRange(LogError):
    """The offset lies outside what the log still holds."""

    def __init__(self, start: int, end: int) -> None:
        super().__init__(f"the log holds offsets {start} to {end}")
        self.start = start
        self.end = end


@dataclass(frozen=True, slots=True)
class LogBounds:
    """What a partition holds: offsets start ≤ offset < end."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Fetched:
    """The answer to one fetch: records from the asked offset on, and the partition's end when it was answered."""

    records: list[LogRecord]
    end: int
    """The last stable offset: what begins there may belong to a transaction that has not ended."""
    next_offset: int
    """Where to read on: batches may end in offsets that compaction emptied, or hold no record at all."""
    lost: LostRange | None = None
    """What cannot be read, from the asked offset to `next_offset`; then there are no records."""


TellLost: TypeAlias = Callable[[LostRange], Awaitable[None]]
"""Told of each range before it is passed over, each time it is met; where it raises, so does the fetch."""


class LogClient:
    """Sessionless reads over one connection of its own."""

    def __init__(self, settings: Settings, *, role: str = "log", on_lost: TellLost | None = None) -> None:
        self._options = aiokafka_options(settings)
        self._names = settings.topic_names
        self._client_id = self._names.member(role)
        self._client: SparseMetadataClient | None = None
        self._on_lost = on_lost
        self._told_of = KnownRanges()

    async def start(self) -> None:
        """Connect. Raises LogUnavailable."""
        timeout_ms = int(REQUEST_TIMEOUT_S * 1000)
        try:
            self._client = await SparseMetadataClient.connected(
                client_id=self._client_id, request_timeout_ms=timeout_ms, **self._options
            )
        except KafkaError as error:
            raise LogUnavailable(f"no Kafka broker answers at {self._options['bootstrap_servers']}") from error

    async def stop(self) -> None:
        """Close the connection."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()

    def forget(self, topic: str) -> None:
        """Keep nothing of a topic that nobody reads any more; whoever reads it again learns who leads it."""
        if self._client is not None:
            self._client.forget(topic)

    async def bounds(self, topic: str, partition: int) -> LogBounds:
        """First and last stable offset of a partition. Raises UnknownLog, LogUnavailable."""
        start = await self.offset_of_time(topic, partition, EARLIEST)
        return LogBounds(start, await self.offset_of_time(topic, partition, LATEST))

    async def end(self, topic: str, partition: int) -> int:
        """The last stable offset: that of the next record, or of the first open transaction's begin.

        Raises UnknownLog, LogUnavailable.
        """
        return await self.offset_of_time(topic, partition, LATEST)

    async def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int:
        """The first offset stamped at or after a time, else the end. Raises UnknownLog, LogUnavailable."""
        offset = await self.offset_of_time(topic, partition, timestamp_ms)
        return offset if offset >= 0 else await self.end(topic, partition)

    async def fetch(
        self, topic: str, partition: int, offset: int, *, wait_ms: int = 0, bytes_max: int = FETCH_BYTES_MAX
    ) -> Fetched:
        """One fetch from `offset`; waits up to `wait_ms` for a first record.

        Raises OffsetOutOfRange, UnknownLog, LogUnavailable.
        """
        attempt = 0
        async with unavailable_after(READ_S, f"{topic}/{partition} at {offset}"):
            while True:
                decoded, end = await self.fetch_once(topic, partition, offset, wait_ms=wait_ms, bytes_max=bytes_max)
                fault = decoded.unreadable
                if fault is None or decoded.next_offset > offset:
                    return Fetched(decoded.records, end, decoded.next_offset)
                attempt += 1
                if attempt >= fault.tries_max:
                    break
                await asyncio.sleep(LEADER_BACKOFF.pause_s(attempt))
        return await self.pass_over(LostRange.of(topic, partition, offset, fault), end)

    async def fetch_once(
        self, topic: str, partition: int, offset: int, *, wait_ms: int, bytes_max: int
    ) -> tuple[Decoded, int]:
        """What an answer holds, and the partition's end."""
        request = sessionless({(topic, partition): offset}, wait_ms=wait_ms, bytes_max=bytes_max)
        _, _, answers = answer_of(await self.ask(topic, partition, request))
        for fetched in answers:
            error = for_code(fetched.error_code)
            if error is OffsetOutOfRangeError:  # brokers leave the bounds out of such an answer
                bounds = await self.bounds(topic, partition)
                raise OffsetOutOfRange(bounds.start, bounds.end)
            if error is CorruptRecordException:
                return Decoded([], offset, REFUSED), await self.end(topic, partition)
            decoded = fetched.decoded(offset, dense=self._names.is_dense(topic))
            # of one partition alone nothing is left out but by throttling, which says nothing of what lies there
            return Decoded([], offset) if decoded.unreadable is LEFT_OUT else decoded, fetched.end
        return Decoded([], offset), offset

    async def pass_over(self, lost: LostRange, end: int) -> Fetched:
        """Go on behind what cannot be read, having told of it."""
        if lost.end is None:
            probe = partial(self.is_readable, lost.topic, lost.partition)
            lost = lost.ending(await next_readable(lost.start, end, probe))
        (log.debug if lost in self._told_of else log.error)("batch_unreadable", **lost.told())
        self._told_of.add(lost)
        if self._on_lost is not None:
            await self._on_lost(lost)
        return Fetched([], end, lost.next_offset, lost)

    async def is_readable(self, topic: str, partition: int, offset: int) -> bool:
        def throttled_s(found: tuple[Decoded, int]) -> float:
            is_empty = found[0].next_offset == offset and found[0].unreadable is None
            return THROTTLED_PAUSE_S if is_empty else 0.0

        look = partial(self.fetch_once, topic, partition, offset, wait_ms=0, bytes_max=PROBE_BYTES)
        async with unavailable_after(READ_S, f"{topic}/{partition} at {offset}"):
            found = await unthrottled(look, throttled_s)
        if found is None:
            raise LogUnavailable(f"{topic}/{partition} is throttled: what can be read there is not known yet")
        return found[0].next_offset > offset

    async def read(self, topic: str, partition: int, start: int, end: int) -> AsyncIterator[list[LogRecord]]:
        """Batches of records with start ≤ offset < end: the records of `pieces`."""
        async with aclosing(self.pieces(topic, partition, start, end)) as pieces:
            async for piece in pieces:
                records = [record for record in piece.records if record.offset < end]
                if records:
                    yield records

    async def pieces(self, topic: str, partition: int, start: int, end: int) -> AsyncGenerator[Fetched, None]:
        """Fetches from `start` until `end` is reached, with what was passed over. A start before the log's begins
        where it begins.

        Raises UnknownLog, LogUnavailable. Stops early where retention left nothing more. A leader that was elected a
        moment ago may not show all yet that its predecessor had shown: it is asked again.
        """
        loop = asyncio.get_running_loop()
        position, blanks, ends_s = start, 0, loop.time() + READ_S
        while position < end:
            try:
                fetched = await self.fetch(topic, partition, position)
            except OffsetOutOfRange as error:
                if error.start <= position:
                    return
                position = error.start
                continue
            yield fetched
            if fetched.next_offset > position:
                position, blanks, ends_s = fetched.next_offset, 0, loop.time() + READ_S
                continue
            if fetched.end >= end:
                return
            blanks += 1
            if blanks > LEADER_BACKOFF.tries_max or loop.time() >= ends_s:
                raise LogUnavailable(f"the leader of {topic} does not show all of it")
            await asyncio.sleep(LEADER_BACKOFF.pause_s(blanks))

    async def offset_of_time(self, topic: str, partition: int, timestamp_ms: int) -> int:
        request = OffsetRequest(NOT_A_REPLICA, READ_COMMITTED, [(topic, [(partition, timestamp_ms)])])
        response = await self.ask(topic, partition, request)
        for _, partitions in response.topics:
            for _, _, _, offset in partitions:
                return int(offset)
        raise LogUnavailable("the broker answered without an offset")

    async def ask(self, topic: str, partition: int, request: Any) -> Any:
        """Send a request to the partition's leader, finding the leader again where it moved or went away."""
        client = self._client
        if client is None:
            raise LogUnavailable("the log client is not started")
        last: BaseException | None = None
        for attempt in range(LEADER_BACKOFF.tries_max):
            if attempt:
                await asyncio.sleep(LEADER_BACKOFF.pause_s(attempt))
            try:
                async with asyncio.timeout(REQUEST_TIMEOUT_S):
                    response = await self.ask_once(client, topic, partition, request)
            except (KafkaError, TimeoutError, OSError) as error:
                last = error
                client.forget(topic)
                continue
            code = first_error(response)
            if code is None:
                return response
            last = code()
            client.forget(topic)
        if isinstance(last, UnknownTopicOrPartitionError):
            raise UnknownLog(topic) from last
        raise LogUnavailable(f"no answer about {topic}: {type(last).__name__}") from last

    async def ask_once(self, client: SparseMetadataClient, topic: str, partition: int, request: Any) -> Any:
        leader = client.cluster.leader_for_partition(TopicPartition(topic, partition))
        if leader is None or leader == -1:
            await client.learn(topic)
            leader = client.cluster.leader_for_partition(TopicPartition(topic, partition))
        return await client.send(leader, request)


@asynccontextmanager
async def unavailable_after(limit_s: float, place: str) -> AsyncIterator[None]:
    """Raises LogUnavailable where what is done within takes longer."""
    try:
        async with asyncio.timeout(limit_s):
            yield
    except TimeoutError as error:
        raise LogUnavailable(f"nothing was shown of {place} within {limit_s:.0f} s") from error


def first_error(response: Any) -> type[KafkaError] | None:
    """The first error of an answer that asking again may mend; None where there is none."""
    for _, partitions in response.topics:
        for _, error_code, *_ in partitions:
            error: type[KafkaError] = for_code(error_code)
            if error not in PASSING_ON:
                return error
    return None
