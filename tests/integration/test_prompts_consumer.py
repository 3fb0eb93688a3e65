"""Where the worker's consumer reads on: on a real broker, with and without a commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from infra.embedded.broker import EmbeddedBroker
from processors.group.ordered_commits import seek_to_committed

__all__: list[str] = []

ANSWER_S = 20.0
COMMITTED, COMMITTED_AT_0, NOT_COMMITTED = range(3)


async def all_of(consumer: Any, places: list[TopicPartition]) -> dict[int, list[int]]:
    """The offsets that come, by partition, up to the last one of each."""
    found: dict[int, list[int]] = {place.partition: [] for place in places}
    async with asyncio.timeout(ANSWER_S):
        while any(offsets[-1:] != [2] for offsets in found.values()):
            for place, records in (await consumer.getmany(timeout_ms=500)).items():
                found[place.partition] += [record.offset for record in records]
    return found


@asynccontextmanager
async def reading(broker: EmbeddedBroker, group: str, places: list[TopicPartition]) -> AsyncIterator[Any]:
    """A consumer of the group that reads these partitions, from their commits on."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker.bootstrap_servers,
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    consumer.assign(places)
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def test_fetched_but_dropped(broker: EmbeddedBroker) -> None:
    """What came and was dropped comes again: from the commit where it is above 0, else from the beginning."""
    topic = f"read-on-{uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    for future in admin.create_topics([NewTopic(topic, num_partitions=3, replication_factor=1)]).values():
        await asyncio.to_thread(future.result, ANSWER_S)
    async with asyncio.timeout(ANSWER_S), AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers) as producer:
        for partition in range(3):
            for _ in range(3):
                await producer.send_and_wait(topic, b"a prompt", partition=partition)
    places = [TopicPartition(topic, partition) for partition in range(3)]
    async with reading(
        broker, topic, places
    ) as before:  # a consumer that reads already may have begun without the commit
        await before.commit({places[COMMITTED]: 1, places[COMMITTED_AT_0]: 0})
    async with reading(broker, topic, places) as consumer:
        first = await all_of(consumer, places)
        sought = await seek_to_committed(consumer)
        again = await all_of(consumer, places)

    assert first == {COMMITTED: [1, 2], COMMITTED_AT_0: [0, 1, 2], NOT_COMMITTED: [0, 1, 2]}
    assert sought == {places[COMMITTED]: 1, places[COMMITTED_AT_0]: 0, places[NOT_COMMITTED]: 0}
    assert again == first
