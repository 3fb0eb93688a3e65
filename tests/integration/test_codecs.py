"""Every codec of Kafka, from each kind of producer and from a broker that recompresses, read by each of our readers.

`make test-codecs` is the whole matrix: every topic of a line recompressed with each codec, prompts from librdkafka,
aiokafka and, where a JDK is there, a Java client.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from confluent_kafka import Producer as LibrdkafkaProducer
from confluent_kafka.admin import AdminClient, NewTopic

from infra.embedded.broker import EmbeddedBroker
from infra.kafka.fetch_request import answer_of, sessionless
from infra.kafka.log_client import LogClient
from infra.kafka.lost_range import LostRange
from infra.kafka.readable_client import read_what_can_be_read
from infra.kafka.sparse_metadata import without_creation
from infra.settings import Settings, load_settings
from producers.sdk import Receipt
from schemas.client_messages import Attach, Logout, Prompt
from schemas.codec import encode
from schemas.identifiers import PromptId, SessionId, UserId, turn_id_of
from schemas.prompts import PromptSubmitted
from schemas.topics import user_partition
from tests.fakes.topic_names import PROMPTS
from tests.integration.broker_fixture import cache_folder, new_broker
from tests.integration.gateway_line import WireClient, gateway_settings, running_gateway
from tests.integration.worker_line import WorkerLine, answer_text, open_line

__all__: list[str] = []

ANSWER_S = 30.0
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
WHOLE = os.environ.get("TOKENWIRE_CODECS") == "full"
JAVA_SOURCE = Path(__file__).with_name("CodecProducer.java")


def admin_of(broker: EmbeddedBroker) -> AdminClient:
    return AdminClient({"bootstrap.servers": broker.bootstrap_servers})


def create(broker: EmbeddedBroker, topic: str, **config: str) -> None:
    admin = admin_of(broker)  # it must outlive its answers
    for answer in admin.create_topics([NewTopic(topic, 1, 1, config=config)]).values():
        answer.result(ANSWER_S)


async def send_librdkafka(broker: EmbeddedBroker, codec: str, topic: str, partition: int, values: list[bytes]) -> None:
    """One batch."""
    producer = LibrdkafkaProducer(
        {"bootstrap.servers": broker.bootstrap_servers, "compression.type": codec, "linger.ms": 100}
    )
    for value in values:
        producer.produce(topic, value, key=b"k", partition=partition)
    assert await asyncio.to_thread(producer.flush, ANSWER_S) == 0


async def send_aiokafka(broker: EmbeddedBroker, codec: str, topic: str, partition: int, values: list[bytes]) -> None:
    """One batch."""
    async with AIOKafkaProducer(
        bootstrap_servers=broker.bootstrap_servers, compression_type=None if codec == "none" else codec, linger_ms=100
    ) as producer:
        sent = [await producer.send(topic, value, key=b"k", partition=partition) for value in values]
        await asyncio.gather(*sent)


async def send_java(broker: EmbeddedBroker, codec: str, topic: str, partition: int, values: list[bytes]) -> None:
    """One batch, by Kafka's own client on the machine's JDK."""
    jars = ":".join(str(jar) for jar in (cache_folder() / "jars").rglob("*.jar"))
    process = await asyncio.create_subprocess_exec(
        "java", "-cp", jars, str(JAVA_SOURCE), broker.bootstrap_servers, codec, topic, str(partition),
        stdin=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(3 * ANSWER_S):
        await process.communicate(b"\n".join(values) + b"\n")
    assert process.returncode == 0


async def read_by_log_client(settings: Settings, topic: str) -> list[bytes | None]:
    client = LogClient(settings)
    await client.start()
    try:
        bounds = await client.bounds(topic, 0)
        read = client.read(topic, 0, bounds.start, bounds.end)
        return [record.value async for records in read for record in records]
    finally:
        await client.stop()


async def read_by_gateway(settings: Settings, topic: str) -> list[bytes | None]:
    """A fetch as the gateway's session reader makes it."""
    client = LogClient(settings)
    await client.start()
    try:
        request = sessionless({(topic, 0): 0}, wait_ms=100, bytes_max=1_048_576)
        _, _, answers = answer_of(await client.ask(topic, 0, request))
        return [record.value for answer in answers for record in answer.decoded(0).records]
    finally:
        await client.stop()


async def read_by_consumer(broker: EmbeddedBroker, topic: str, count: int) -> list[bytes]:
    """aiokafka's consumer, as the worker and analytics have it."""
    lost: list[LostRange] = []
    consumer = AIOKafkaConsumer(bootstrap_servers=broker.bootstrap_servers, auto_offset_reset="earliest")
    without_creation(consumer._client)
    read_what_can_be_read(consumer, lost.append, is_dense=lambda _: True)
    consumer.assign([TopicPartition(topic, 0)])
    await consumer.start()
    values: list[bytes] = []
    try:
        async with asyncio.timeout(ANSWER_S):
            while len(values) < count:
                for records in (await consumer.getmany(timeout_ms=500)).values():
                    values += [record.value for record in records]
    finally:
        await consumer.stop()
    assert lost == []
    return values


@pytest.mark.parametrize("recompressed", ["producer", "zstd"])
async def test_all_codecs_on_one_topic(broker: EmbeddedBroker, recompressed: str) -> None:
    """Whatever packed them, and whether or not the broker packs them anew, every reader has the records."""
    topic = f"codecs-{recompressed}-{uuid4().hex[:8]}"
    await asyncio.to_thread(create, broker, topic, **{"compression.type": recompressed})
    written: list[bytes] = []
    for codec in CODECS:
        for send in (send_librdkafka, send_aiokafka):
            values = [f"{send.__name__} {codec} {number} ".encode() * 50 for number in range(3)]
            await send(broker, codec, topic, 0, values)
            written += values
    settings = load_settings({"TOKENWIRE_KAFKA": broker.bootstrap_servers})

    assert await read_by_log_client(settings, topic) == written
    assert await read_by_gateway(settings, topic) == written
    assert await read_by_consumer(broker, topic, len(written)) == written


def prompts_of(codec: str) -> list[tuple[Any, PromptSubmitted]]:
    """A prompt from each kind of producer."""
    senders = [send_librdkafka, send_aiokafka] + ([send_java] if shutil.which("javac") else [])
    return [
        (send, PromptSubmitted(user="codecs", session=f"{codec}-{send.__name__}", prompt_id="p1", input="Why? " * 60))
        for send in senders
    ]


async def ask_all(line: WorkerLine, codec: str) -> None:
    """Each prompt is answered, told to the records, and the journal is read by the next worker."""
    partition = user_partition("codecs")
    worker = line.start_worker()
    receipts = []
    for send, prompt in prompts_of(codec):
        await send(line.broker, codec, PROMPTS, partition, [encode(prompt)])
        turn = turn_id_of(UserId(prompt.user), SessionId(prompt.session), PromptId(prompt.prompt_id))
        receipts.append(Receipt(prompt.user, prompt.session, prompt.prompt_id, turn, PROMPTS, partition, 0))
    for receipt in receipts:
        turn_seen = await line.ended(receipt)
        assert turn_seen.ended is not None
        assert (turn_seen.ended.reason, turn_seen.text) == ("complete", answer_text("Why? " * 60))
    assert len(await line.until_records(len(receipts), *receipts)) >= len(receipts)
    await line.stop_worker(worker)
    again = line.start_worker()
    await line.wait_for_log(again, "journal_loaded")
    await hear_all(line, receipts)


async def hear_all(line: WorkerLine, receipts: list[Receipt]) -> None:
    """Gateways tell the answers, a prompt in a silent session (activity) and a logout at the other one (access)."""
    settings = await gateway_settings(line.broker, line.folder / "gateways")
    user = receipts[0].user
    async with (
        running_gateway(settings) as first,
        running_gateway(settings) as second,
        WireClient.connected(first, user) as here,
        WireClient.connected(second, user) as there,
    ):
        for receipt in receipts:
            await there.send(Attach(session=receipt.session, from_="start"))
            assert (await there.until("end")).reason == "complete"
        await there.send(Attach(session="silent", from_="start"))
        await there.until("attached")
        await here.send(Prompt(session="silent", prompt_id="p1", input="Why? "))
        await here.until("accepted")
        assert (await there.until("end")).reason == "complete"
        await here.send(Logout())
        assert (await there.closed())[0] == 4401


@pytest.mark.timeout(600)
@pytest.mark.skipif(not WHOLE, reason="the whole matrix: make test-codecs")
@pytest.mark.parametrize("recompressed", [False, True])
@pytest.mark.parametrize("codec", CODECS)
async def test_line_with_codec(tmp_path: Path, codec: str, recompressed: bool) -> None:
    """A whole line: each producer packs its prompts, and the broker, if it does, every record of every topic."""
    kind = ("uncompressed" if codec == "none" else codec) if recompressed else "producer"
    broker = new_broker(tmp_path / "broker", extra_properties={"compression.type": kind})
    await broker.start()
    try:
        async with open_line(broker, tmp_path) as line:
            await ask_all(line, codec)
    finally:
        await broker.stop()
