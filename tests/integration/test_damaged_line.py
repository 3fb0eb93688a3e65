"""A broker's disk has damaged what a line wrote: every part of it goes on behind the damage, and tells it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka import Producer as LibrdkafkaProducer

from infra.embedded.broker import EmbeddedBroker
from infra.kafka.connection import librdkafka_options
from infra.kafka.record_batches import LogRecord, decode_records
from infra.settings import load_settings
from producers.sdk import Receipt
from schemas.client_messages import Attach
from schemas.codec import decode_session_event, encode
from schemas.identifiers import SessionId, UserId, session_key_of
from schemas.prompts import SessionWatched
from schemas.session_events import TokensEmitted
from schemas.topics import USER_PARTITIONS, record_partition, user_partition
from tests.fakes.topic_names import PROMPTS, RECORDS, TURNS, session_place
from tests.integration.analytics_fixture import stored, writing
from tests.integration.gateway_line import WireClient, gateway_settings, http, running_gateway
from tests.integration.worker_line import WorkerLine, answer_text, open_line

__all__: list[str] = []

USER: Final = "damaged"
PARTITION: Final = user_partition(USER)
OTHER_PARTITION: Final = (PARTITION + 1) % USER_PARTITIONS
KAFKA_S: Final = 20.0
SLOW: Final = "[[sim tokens=60 pace_ms=100]] Take your time."
QUICK: Final = "What is lost?"
DAMAGED_BATCHES: Final = 100
STOP_S: Final = 15.0
"""Its drain and Faust's stop, which are 6 and 5 s; the supervisor waits for longer."""

Choice = Callable[[LogRecord], bool]


def damage(broker: EmbeddedBroker, topic: str, partition: int, choose: Choice) -> int:
    """Flip a byte of each batch with a record that is chosen, on the disk of a broker that does not run; how many."""
    flipped = 0
    for segment in (broker._data_folder / f"{topic}-{partition}").glob("*.log"):
        content, start = bytearray(segment.read_bytes()), 0
        while start + 12 <= len(content):
            base = int.from_bytes(content[start : start + 8], "big")
            stop = start + 12 + int.from_bytes(content[start + 8 : start + 12], "big")
            if stop == start + 12:
                break  # what the broker allotted ahead
            if any(map(choose, decode_records(bytes(content[start:stop]), base).records)):
                content[stop - 1] ^= 0xFF
                flipped += 1
            start = stop
        segment.write_bytes(content)
    return flipped


async def until_committed(line: WorkerLine, end: int) -> None:
    """Until the workers have committed the prompts before an offset: nobody brings them again."""
    options = librdkafka_options(line.settings) | {"group.id": line.settings.worker_group_name}
    consumer = Consumer(options)
    try:
        async with asyncio.timeout(KAFKA_S):
            while True:
                place = TopicPartition(PROMPTS, PARTITION)
                (committed,) = await asyncio.to_thread(consumer.committed, [place], KAFKA_S)
                if committed.offset >= end:
                    return
                await asyncio.sleep(0.05)
    finally:
        consumer.close()


def send_words(broker: EmbeddedBroker, count: int) -> None:
    """Commands that ask for nothing, each in a batch of its own."""
    producer = LibrdkafkaProducer({"bootstrap.servers": broker.bootstrap_servers, "batch.num.messages": 1})
    user = next(name for name in map(str, range(1_000)) if user_partition(name) == OTHER_PARTITION)
    for number in range(count):
        word = SessionWatched(user=user, session="s", gateway=f"g{number}", devices=1)
        producer.produce(PROMPTS, encode(word), key=user.encode(), partition=OTHER_PARTITION)
    assert producer.flush(KAFKA_S) == 0


def is_of_text(record: LogRecord) -> bool:
    return isinstance(decode_session_event(record.value or b""), TokensEmitted)


def has_key(key: str) -> Choice:
    return lambda record: record.key == key.encode()


async def leave_behind(line: WorkerLine) -> tuple[Receipt, Receipt, Receipt, Receipt]:
    """A turn that has ended, one that is open, and two prompts that nobody has read; their worker is dead."""
    worker = line.start_worker()
    ended = await line.producer.submit(QUICK, user=USER, session="ended")
    await line.ended(ended)
    open_turn = await line.producer.submit(SLOW, user=USER, session="open")
    await line.until_tokens(open_turn, 3)
    await line.until_records(1, ended)
    await until_committed(line, open_turn.offset + 1)
    worker.kill()
    await asyncio.to_thread(worker.wait, KAFKA_S)
    unread = await line.producer.submit(QUICK, user=USER, session="unread")
    behind = await line.producer.submit(QUICK, user=USER, session="behind")
    await asyncio.to_thread(send_words, line.broker, 2 * DAMAGED_BATCHES)
    return ended, open_turn, unread, behind


async def damage_all(line: WorkerLine, receipts: Iterable[Receipt]) -> None:
    """Of each topic something, while the broker does not run."""
    _, open_turn, unread, _ = receipts
    broker, key = line.broker, session_key_of(UserId(USER), SessionId("ended"))
    await broker.stop()
    assert damage(broker, TURNS, PARTITION, has_key(open_turn.turn)) >= 1
    assert damage(broker, PROMPTS, PARTITION, lambda record: record.offset == unread.offset) == 1
    assert damage(broker, PROMPTS, OTHER_PARTITION, lambda record: record.offset % 2 == 0) == DAMAGED_BATCHES
    assert damage(broker, session_place(key, "dedicated").topic, 0, is_of_text) > 1
    assert damage(broker, RECORDS, record_partition(key), has_key(key)) == 1
    await broker.start()


async def stopped_beside_damage(line: WorkerLine) -> None:
    """A worker that has much before it that cannot be read ends in time when it is asked to."""
    worker = line.start_worker()
    await line.wait_for_log(worker, "batch_unreadable")
    worker.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(worker.wait, STOP_S) == 0
    assert f'"first_offset": {2 * DAMAGED_BATCHES - 2}' not in line.log_of(worker)  # it was at it


async def gap_of(line: WorkerLine, home: Path) -> None:
    """A reader of the damaged session is told of the gap, and its gateway counts it."""
    settings = await gateway_settings(line.broker, home)
    async with running_gateway(settings) as port, WireClient.connected(port, USER) as client:
        await client.send(Attach(session="ended", from_="start"))
        assert (await client.until("gap")).reason == "log_lost"
        assert (await client.until("snapshot")) is not None
        assert "tokenwire_gateway_unreadable_ranges_total 1.0" in (await http(port, "/metrics"))[1]


async def rows_of(line: WorkerLine, home: Path, *turns: str) -> None:
    """These turns become rows, though a record before theirs is lost."""
    settings = load_settings({}, home=home, kafka=line.broker.bootstrap_servers, analytics_port=0)
    async with asyncio.timeout(4 * KAFKA_S), writing(settings) as parts:
        while not set(turns) <= {row[0] for row in await stored(parts.connection, USER)}:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.05)


@pytest.mark.skipif(os.environ.get("TOKENWIRE_CODECS") != "full", reason="a minute long: make test-codecs runs it")
async def test_line_on_a_damaged_disk(private_broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Journal, prompts, a session's log and records have each lost a batch: what is behind goes on, an open turn is
    answered once, and every loss is told where an operator or a reader looks."""
    async with open_line(private_broker, tmp_path) as line:
        receipts = await leave_behind(line)
        _, open_turn, unread, behind = receipts
        await damage_all(line, receipts)
        await stopped_beside_damage(line)
        line.start_worker()
        again, last = await line.ended(open_turn), await line.ended(behind)
        await line.until_records(2, open_turn, behind)
        await gap_of(line, tmp_path / "gateway")
        await rows_of(line, tmp_path / "analytics", open_turn.turn, behind.turn)

        assert (again.ended and again.ended.reason, last.text) == ("complete", answer_text(QUICK))
        assert again.attempt == 2
        assert await line.events(USER, "unread") == []
        told = {(each.topic, each.partition) for each in await line.dead_letters() if each.reason == "unreadable"}
        key = session_key_of(UserId(USER), SessionId("ended"))
        assert told >= {(PROMPTS, PARTITION), (TURNS, PARTITION), (RECORDS, record_partition(key))}
        assert unread.offset in {each.offset for each in await line.dead_letters() if each.partition == PARTITION}
