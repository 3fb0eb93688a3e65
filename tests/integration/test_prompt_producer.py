"""The producer SDK on a real broker: acknowledged, once, on the right partition; bounded when the broker is away.

Covers: producers.errors.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
from aiokafka.partitioner import DefaultPartitioner
from confluent_kafka import Producer as PlainProducer

from infra.embedded.broker import EmbeddedBroker
from infra.kafka.connection import librdkafka_options
from infra.kafka.log_client import LogClient, LogRecord
from infra.kafka.topic_admin import ensure_topics
from infra.settings import Settings, load_settings
from producers.errors import ProducerBusy, TopicMissing
from producers.kafka_publisher import KafkaPublisher, PublishBounds
from producers.prompt_producer import BlockingPromptProducer, PromptProducer
from producers.sdk import BlockingProducer, Producer
from schemas.codec import decode_prompt_command
from schemas.identifiers import check_prompt_id, check_session_id, check_user_id, turn_id_of
from schemas.prompt_limits import PromptLimits, check_prompt
from schemas.prompts import PromptCancelled, PromptSubmitted
from schemas.topics import USER_PARTITIONS, user_partition
from tests.fakes.topic_names import PROMPTS, fixed_topics

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "prompts.md"
REFUSAL_S_MAX = 2.0


async def settings_for(broker: EmbeddedBroker) -> Settings:
    settings = load_settings({}, kafka=broker.bootstrap_servers)
    await ensure_topics(settings, fixed_topics("dedicated"))
    return settings


async def read_prompts(settings: Settings) -> list[LogRecord]:
    reader = LogClient(settings)
    await reader.start()
    records: list[LogRecord] = []
    try:
        for partition in range(USER_PARTITIONS):
            bounds = await reader.bounds(PROMPTS, partition)
            async for batch in reader.read(PROMPTS, partition, bounds.start, bounds.end):
                records.extend(batch)
    finally:
        await reader.stop()
    return records


def prompt(user: str, prompt_id: str, session: str = "s1") -> PromptSubmitted:
    return PromptSubmitted(user=user, session=session, prompt_id=prompt_id, input="Why is the sky blue?")


async def test_submitted_prompt_is_on_the_log_when_the_call_returns(broker: EmbeddedBroker) -> None:
    """The acknowledgement names topic, partition, offset and turn; the record there is the prompt, stamped."""
    settings = await settings_for(broker)
    asked = prompt("acked-user", "p1")

    async with PromptProducer(settings) as producer:
        acknowledged = await producer.submit(asked)

    reader = LogClient(settings)
    await reader.start()
    fetched = await reader.fetch(acknowledged.topic, acknowledged.partition, acknowledged.offset)
    await reader.stop()
    record = fetched.records[0]
    stored = decode_prompt_command(record.value or b"")
    assert record.key == b"acked-user"
    assert isinstance(stored, PromptSubmitted)
    assert (stored.user, stored.prompt_id, stored.input) == (asked.user, asked.prompt_id, asked.input)
    assert abs(stored.submitted_at_us / 1e6 - time.time()) < 60
    user, session = check_user_id(asked.user), check_session_id(asked.session)
    assert acknowledged.turns == (turn_id_of(user, session, check_prompt_id("p1")),)


async def test_thousand_users_lie_where_the_catalogue_and_aiokafka_put_them(broker: EmbeddedBroker) -> None:
    """librdkafka's murmur2_random, our own function and aiokafka's partitioner agree on every user."""
    settings = await settings_for(broker)
    users = [f"user-{number}@example.org" for number in range(1_000)]
    partitions = list(range(USER_PARTITIONS))
    aiokafka_partitioner = DefaultPartitioner()

    async with PromptProducer(settings) as producer:
        acknowledged = await asyncio.gather(*(producer.submit(prompt(user, "p1")) for user in users))

    assert [ack.partition for ack in acknowledged] == [user_partition(user) for user in users]
    assert [ack.partition for ack in acknowledged] == [
        aiokafka_partitioner(user.encode(), partitions, partitions) for user in users
    ]


async def test_blocking_twin_publishes_the_same_record(broker: EmbeddedBroker) -> None:
    """Without an event loop: the same key, partition and acknowledgement; a cancel follows its prompt."""
    settings = await settings_for(broker)

    def publish() -> tuple[int, int]:
        with BlockingPromptProducer(settings) as producer:
            submitted = producer.submit(prompt("blocking-user", "p1"))
            cancelled = producer.cancel(PromptCancelled(user="blocking-user", session="s1", prompt_id="p1"))
        assert submitted.turns == cancelled.turns
        assert submitted.partition == cancelled.partition == user_partition("blocking-user")
        return submitted.offset, cancelled.offset

    submitted_offset, cancelled_offset = await asyncio.to_thread(publish)

    assert cancelled_offset > submitted_offset


async def test_friendly_face_draws_ids_that_were_left_out(broker: EmbeddedBroker) -> None:
    """Producer.submit needs a text and a user; the receipt names what was drawn."""
    settings = await settings_for(broker)

    async with Producer(settings) as producer:
        first = await producer.submit("Hello", user="sdk-user")
        second = await producer.submit(messages=[{"role": "user", "content": "Hello"}], user="sdk-user", session="s1")

    def submit_blocking() -> str:
        with BlockingProducer(settings) as producer:
            return producer.submit("Hello", user="sdk-user", session="s1", prompt_id="mine").prompt_id

    assert first.session != second.session == "s1"
    assert first.prompt_id != second.prompt_id
    assert await asyncio.to_thread(submit_blocking) == "mine"


async def test_plain_kafka_client_publishing_the_documented_json_is_understood(broker: EmbeddedBroker) -> None:
    """The example of docs/prompts.md, published by confluent-kafka alone, is an acceptable prompt in its place."""
    settings = await settings_for(broker)
    example = json.loads(re.findall(r"```json\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)[0])
    example |= {"user": "plain-user"}
    plain = PlainProducer({"bootstrap.servers": broker.bootstrap_servers, "partitioner": "murmur2_random"})

    plain.produce(PROMPTS, json.dumps(example), key=example["user"])
    assert await asyncio.to_thread(plain.flush, 10) == 0

    records = [record for record in await read_prompts(settings) if record.key == b"plain-user"]
    stored = decode_prompt_command(records[-1].value or b"")
    assert isinstance(stored, PromptSubmitted)
    check_prompt(stored, PromptLimits())
    assert stored.metadata == {"channel": "email"}


async def test_topic_that_is_not_there_is_named_at_the_start(broker: EmbeddedBroker) -> None:
    """A producer does not start towards a topic that nobody made, and never makes one itself."""
    publisher = KafkaPublisher(librdkafka_options(load_settings({}, kafka=broker.bootstrap_servers)), PublishBounds())
    publisher.open()
    try:
        with pytest.raises(TopicMissing, match=r"tokenwire\.absent"):
            await asyncio.to_thread(publisher.require_topic, "tokenwire.absent", 12, 5.0)
    finally:
        await asyncio.to_thread(publisher.close)


async def test_R1_broker_killed_under_load_and_back_has_every_prompt_once(private_broker: EmbeddedBroker) -> None:
    """Prompts on their way when the broker is killed are acknowledged after its return, and lie on the log once."""
    settings = await settings_for(private_broker)
    bounds = PublishBounds(publish_s=60)
    asked = [prompt(f"user-{number % 40}", f"p{number}") for number in range(400)]

    async with PromptProducer(settings, bounds=bounds) as producer:
        early = await asyncio.gather(*(producer.submit(each) for each in asked[:100]))
        late = [asyncio.ensure_future(producer.submit(each)) for each in asked[100:]]
        assert private_broker.pid is not None
        os.kill(private_broker.pid, signal.SIGKILL)
        await private_broker.wait()
        await private_broker.stop()
        await private_broker.start()
        acknowledged = [*early, *await asyncio.gather(*late)]

    stored = [decode_prompt_command(record.value or b"") for record in await read_prompts(settings)]
    assert len(acknowledged) == len(asked)
    assert sorted(each.prompt_id for each in stored if isinstance(each, PromptSubmitted)) == sorted(
        each.prompt_id for each in asked
    )


async def test_R2_full_queue_refuses_at_once_while_the_broker_is_away(private_broker: EmbeddedBroker) -> None:
    """With the broker stopped, what fits the queue waits; the next prompt is refused well within two seconds."""
    settings = await settings_for(private_broker)
    bounds = PublishBounds(queue_messages_max=20, publish_s=60, drain_s=0.2)

    async with PromptProducer(settings, bounds=bounds) as producer:
        await producer.submit(prompt("user", "p0"))
        await private_broker.stop()
        waiting = [asyncio.ensure_future(producer.submit(prompt("user", f"w{number}"))) for number in range(20)]
        await asyncio.sleep(0)  # lets each of them hand its prompt over
        begun_s = time.monotonic()
        with pytest.raises(ProducerBusy):
            await producer.submit(prompt("user", "one-too-many"))
        refused_after_s = time.monotonic() - begun_s
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    assert refused_after_s < REFUSAL_S_MAX
