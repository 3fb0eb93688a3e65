"""The log in memory and the real one keep the same contract: what a worker is tested on is what it runs on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from infra.clock import SystemClock
from infra.embedded.broker import EmbeddedBroker
from infra.kafka.log_client import LogClient, LogRecord, OffsetOutOfRange, UnknownLog
from infra.kafka.session_topics import SessionTopics
from infra.settings import load_settings
from processors.writing.log_appender import AppendRefused, LogAppender, LogGone
from schemas.identifiers import SessionKey
from schemas.topics import PROMPT_CARRIER_BYTES_MAX
from tests.fakes.memory_log import MemoryAppender, MemoryLog, MemoryReader, MemoryTopics
from tests.integration.broker_fixture import new_broker

__all__: list[str] = []

COMPACTED = "compacted"
KEPT = 24

pytestmark = pytest.mark.asyncio(loop_scope="session")


@dataclass
class Parts:
    """Either implementation."""

    appender: LogAppender
    reader: LogClient
    topics: SessionTopics


@asynccontextmanager
async def opened(kind: str, broker: EmbeddedBroker) -> AsyncIterator[Parts]:
    if kind == "memory":
        log = MemoryLog(SystemClock())
        parts = Parts(MemoryAppender(log), MemoryReader(log), MemoryTopics(log))
    else:
        settings = load_settings({}, kafka=broker.bootstrap_servers)
        parts = Parts(LogAppender(settings, SystemClock()), LogClient(settings), SessionTopics(settings))
    started: list[Any] = []
    try:
        for part in (parts.appender, parts.reader, parts.topics):
            await part.start()
            started.append(part)
        yield parts
    finally:
        for part in reversed(started):
            await part.stop()


def new_key() -> SessionKey:
    return SessionKey(uuid4().hex)


@pytest.mark.parametrize("kind", ["memory", "kafka"])
async def test_append_and_read(kind: str, broker: EmbeddedBroker) -> None:
    """Offsets count from 0, records come back as they were written, bounds and times lead to them."""
    async with opened(kind, broker) as parts:
        place = (await parts.topics.ensure(new_key())).place
        before = await parts.reader.bounds(place.topic, 0)
        offsets = await parts.appender.append_all(place.topic, 0, [b"a", b"b", None], key=b"k")
        offsets.append(await parts.appender.append(place.topic, 0, b"c"))
        after = await parts.reader.bounds(place.topic, 0)
        fetched = await parts.reader.fetch(place.topic, 0, 1)
        read = [record async for batch in parts.reader.read(place.topic, 0, 0, 3) for record in batch]
        first_ms = read[0].timestamp_ms

        assert (before.start, before.end, after.start, after.end) == (0, 0, 0, 4)
        assert offsets == [0, 1, 2, 3]
        assert [(r.offset, r.key, r.value) for r in read] == [(0, b"k", b"a"), (1, b"k", b"b"), (2, b"k", None)]
        assert [record.offset for record in fetched.records] == [1, 2, 3]
        assert (fetched.end, fetched.next_offset) == (4, 4)
        assert await parts.reader.offset_at(place.topic, 0, first_ms - 60_000) == 0
        assert await parts.reader.offset_at(place.topic, 0, first_ms + 60_000) == 4


@pytest.mark.parametrize("kind", ["memory", "kafka"])
async def test_reads_beyond_the_log(kind: str, broker: EmbeddedBroker) -> None:
    """At the end there is nothing; past it the offset is out of range; a range past the end is empty."""
    async with opened(kind, broker) as parts:
        place = (await parts.topics.ensure(new_key())).place
        await parts.appender.append(place.topic, 0, b"a")
        at_end = await parts.reader.fetch(place.topic, 0, 1)
        with pytest.raises(OffsetOutOfRange) as found:
            await parts.reader.fetch(place.topic, 0, 9)
        read = [batch async for batch in parts.reader.read(place.topic, 0, 5, 9)]

        assert (at_end.records, at_end.end, at_end.next_offset) == ([], 1, 1)
        assert (found.value.start, found.value.end) == (0, 1)
        assert read == []


@pytest.mark.parametrize("kind", ["memory", "kafka"])
async def test_session_topics(kind: str, broker: EmbeddedBroker) -> None:
    """Absent until it is asked for, the same whoever asks, another one after it was deleted."""
    async with opened(kind, broker) as parts:
        key = new_key()
        assert await parts.topics.find(key) is None
        first = await parts.topics.ensure(key)
        assert await parts.topics.find(key) == first == await parts.topics.ensure(key)
        await parts.topics.delete(key)
        again = await parts.topics.ensure(key)

        assert again.place == first.place
        assert again.epoch != first.epoch


@pytest.mark.parametrize("kind", ["memory", "kafka"])
async def test_topic_that_does_not_exist(kind: str, broker: EmbeddedBroker) -> None:
    """Reading and appending say so; nothing is created by asking."""
    async with opened(kind, broker) as parts:
        topic = f"absent-{uuid4().hex}"
        with pytest.raises(UnknownLog):
            await parts.reader.end(topic, 0)
        with pytest.raises(LogGone):
            await parts.appender.append(topic, 0, b"a")
        with pytest.raises(UnknownLog):
            await parts.reader.end(topic, 0)


@pytest.mark.parametrize("kind", ["memory", "kafka"])
async def test_record_that_is_too_large(kind: str, broker: EmbeddedBroker) -> None:
    """It is refused, and the next one is taken."""
    async with opened(kind, broker) as parts:
        place = (await parts.topics.ensure(new_key())).place
        with pytest.raises(AppendRefused):
            await parts.appender.append(place.topic, 0, b"x" * (PROMPT_CARRIER_BYTES_MAX + 1))

        assert await parts.appender.append(place.topic, 0, b"x" * PROMPT_CARRIER_BYTES_MAX) == 0


@pytest.mark.parametrize("kind", ["memory", "kafka"])
async def test_log_whose_beginning_is_gone(kind: str, broker: EmbeddedBroker) -> None:
    """A fetch says where the log begins by now, and a read begins there."""
    async with opened(kind, broker) as parts:
        place = (await parts.topics.ensure(new_key())).place
        await parts.appender.append_all(place.topic, 0, [b"a", b"b", b"c"])
        if isinstance(parts.reader, MemoryReader):
            parts.reader.memory.trim(place.topic, 0, 2)
        else:
            await asyncio.to_thread(delete_records, broker, place.topic, 2)
        with pytest.raises(OffsetOutOfRange) as found:
            await parts.reader.fetch(place.topic, 0, 1)
        read = [record.offset async for batch in parts.reader.read(place.topic, 0, 0, 3) for record in batch]

        assert (found.value.start, found.value.end) == (2, 3)
        assert read == [2]


def delete_records(broker: EmbeddedBroker, topic: str, start: int) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    for future in admin.delete_records([TopicPartition(topic, 0, start)]).values():
        future.result(timeout=20)


async def test_log_that_a_broker_compacted(tmp_path: Path) -> None:
    """Every newest record is read, over segments whose last batches have lost their last records."""
    broker = new_broker(tmp_path / "broker", extra_properties={"log.cleaner.backoff.ms": "100"})
    await broker.start()
    try:
        await asyncio.to_thread(create_compacted, broker)
        async with opened("kafka", broker) as parts:
            producer = parts.appender.producer
            for number in range(KEPT):  # pairs that share a batch: the second is written again and again
                pair = [(b"k%d" % number, b"kept" * 20_000), (b"again", b"again" * 20_000)]
                sent = [await producer.send(COMPACTED, value, key=key, partition=0) for key, value in pair]
                await asyncio.gather(*sent)
            end = await parts.reader.end(COMPACTED, 0)
            async with asyncio.timeout(60):
                while len(read := await all_records(parts.reader, end)) > KEPT + 8:  # noqa: ASYNC110  # its own pace
                    await asyncio.sleep(0.2)
    finally:
        await broker.stop()

    assert {record.key for record in read} == {b"again"} | {b"k%d" % number for number in range(KEPT)}
    assert read[-1].offset == end - 1


async def all_records(reader: LogClient, end: int) -> list[LogRecord]:
    return [record async for batch in reader.read(COMPACTED, 0, 0, end) for record in batch]


def create_compacted(broker: EmbeddedBroker) -> None:
    config = {
        "cleanup.policy": "compact",
        "segment.bytes": "1048576",
        "min.cleanable.dirty.ratio": "0.01",
        "max.compaction.lag.ms": "100",
    }
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    topic = NewTopic(COMPACTED, num_partitions=1, replication_factor=1, config=config)
    for future in admin.create_topics([topic]).values():
        future.result(timeout=20)
