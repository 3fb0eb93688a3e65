"""Batches that a disk has damaged, on a real broker: each of our readers goes on behind them and tells what is lost.

Covers: infra.kafka.lost_range.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from infra.embedded.broker import EmbeddedBroker
from infra.kafka.log_client import LogClient
from infra.kafka.lost_range import LostRange
from infra.kafka.readable_client import read_what_can_be_read
from infra.kafka.sparse_metadata import without_creation
from infra.settings import load_settings
from schemas.identifiers import SessionKey
from schemas.topics import TopicNames

__all__: list[str] = []

READ_S: Final = 60.0
BATCHES: Final = 4
RECORDS: Final = 3
"""Of each batch."""
DAMAGED: Final = 1
"""The batch that is damaged."""
LAST: Final = (BATCHES - 1) * RECORDS
LATER_MS: Final = 3_600_000
LOST: Final = (RECORDS, 2 * RECORDS)
LEFT: Final = [f"{offset}".encode() for offset in range(BATCHES * RECORDS) if not LOST[0] <= offset < LOST[1]]
SHOWN: Final = [f"{offset}".encode() for offset in (*range(RECORDS), *range(LAST, LAST + RECORDS))]
"""What a broker itself still shows where a length is broken: it looks no further in that segment, and says nothing."""
NAMES: Final = TopicNames()
COMPACTED: Final = "length, compacted"
"""A log on which offsets may be missing: nobody can tell that they are lost."""

Damage = Callable[[bytearray, int], None]


def flip_in_records(content: bytearray, start: int) -> None:
    content[start + 70] ^= 0xFF


def break_length(content: bytearray, start: int) -> None:
    content[start + 8 : start + 12] = (2**30).to_bytes(4, "big")


def shorten_length(content: bytearray, start: int) -> None:
    content[start + 8 : start + 12] = (20).to_bytes(4, "big")


def break_offset(content: bytearray, start: int) -> None:
    content[start : start + 8] = (2**40).to_bytes(8, "big")


def break_format(content: bytearray, start: int) -> None:
    content[start + 16] = 9


DAMAGES: Final[dict[str, Damage]] = {
    "records": flip_in_records,
    "length": break_length,
    "short-length": shorten_length,
    "offset": break_offset,
    "format": break_format,
}


async def write(broker: EmbeddedBroker, topics: list[str]) -> None:
    """Four batches of three records in each topic, the last one in a segment of its own: where the newest segment is
    damaged, the broker itself takes what it can read for the whole log."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    for answer in admin.create_topics(
        [NewTopic(topic, 1, 1, config={"segment.ms": "60000"}) for topic in topics]
    ).values():
        await asyncio.to_thread(answer.result, READ_S)
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers) as producer:
        for topic in topics:
            for first in range(0, BATCHES * RECORDS, RECORDS):
                batch = producer.create_batch()
                for offset in range(first, first + RECORDS):
                    batch.append(key=None, value=str(offset).encode(), timestamp=LATER_MS if first == LAST else 1)
                await (await producer.send_batch(batch, topic, partition=0))


def damage(segment: Path, how: Damage) -> None:
    """Change one batch on the disk of a broker that does not run."""
    content = bytearray(segment.read_bytes())
    starts, start = [], 0
    while start < len(content):
        starts.append(start)
        start += 12 + int.from_bytes(content[start + 8 : start + 12], "big")
    assert len(starts) == BATCHES - 1
    how(content, starts[DAMAGED])
    segment.write_bytes(content)


async def by_log_client(broker: EmbeddedBroker, topic: str) -> tuple[list[bytes | None], list[LostRange]]:
    lost: list[LostRange] = []

    async def tell(found: LostRange) -> None:
        lost.append(found)

    client = LogClient(load_settings({}, kafka=broker.bootstrap_servers), on_lost=tell)
    await client.start()
    try:
        bounds = await client.bounds(topic, 0)
        read = client.read(topic, 0, bounds.start, bounds.end)
        return [record.value async for records in read for record in records], lost
    finally:
        await client.stop()


async def by_consumer(broker: EmbeddedBroker, topic: str) -> tuple[list[bytes | None], list[LostRange]]:
    """aiokafka's consumer, as workers and analytics have it."""
    lost: list[LostRange] = []
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap_servers, auto_offset_reset="earliest")
    without_creation(consumer._client)
    read_what_can_be_read(consumer, lost.append, is_dense=NAMES.is_dense)
    await consumer.start()
    try:
        place = TopicPartition(topic, 0)
        consumer.assign([place])
        await consumer.seek_to_beginning(place)
        values: list[bytes | None] = []
        async with asyncio.timeout(READ_S):
            while await consumer.position(place) < BATCHES * RECORDS:
                for records in (await consumer.getmany(place, timeout_ms=200)).values():
                    values += [record.value for record in records]
        return values, lost
    finally:
        await consumer.stop()


async def test_damaged_batches(private_broker: EmbeddedBroker) -> None:
    """Whatever of a batch is damaged, each reader has all that the broker still shows, and tells what is missing."""
    topics = {name: NAMES.session_topic(SessionKey(name)).name for name in DAMAGES} | {COMPACTED: NAMES.turns}
    await write(private_broker, list(topics.values()))
    await private_broker.stop()
    for name, topic in topics.items():
        segment, _ = sorted((private_broker._data_folder / f"{topic}-0").glob("*.log"))
        damage(segment, DAMAGES.get(name, break_length))
    await private_broker.start()

    found = {}
    for name, topic in topics.items():
        for reader in (by_log_client, by_consumer):
            values, lost = await reader(private_broker, topic)
            found[name, reader.__name__] = values, [(each.start, each.next_offset) for each in lost]

    rest = (LOST[0], LAST)
    hidden = {"length": (SHOWN, [rest]), "short-length": (SHOWN, [rest]), COMPACTED: (SHOWN, [])}
    assert found == {place: hidden.get(place[0], (LEFT, [LOST])) for place in found}
