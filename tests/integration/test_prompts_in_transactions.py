"""Prompts that a service publishes in transactions: committed, aborted, and left open by a service that dies."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final
from uuid import uuid4

from confluent_kafka import Consumer, Producer, TopicPartition

from infra.embedded.broker import EmbeddedBroker
from producers.sdk import Receipt
from schemas.codec import encode
from schemas.identifiers import PromptId, SessionId, UserId, turn_id_of
from schemas.prompts import PromptSubmitted
from schemas.topics import user_partition
from tests.fakes.topic_names import PROMPTS
from tests.integration.process_probe import until
from tests.integration.worker_line import WorkerLine, answer_text, open_line

__all__: list[str] = []

KAFKA_S: Final = 30.0
OPEN_MS: Final = 3_000
"""How long a broker leaves a transaction open whose producer has died, before it looks; it looks every 10 s."""
ENDED_S: Final = 60.0
USER: Final = "writes-in-transactions"
PARTITION: Final = user_partition(USER)
COMMITTED: Final = "Was I committed?"
BEHIND: Final = "Am I held up?"
AFTER: Final = "And I?"


def producer_of(broker: EmbeddedBroker, **more: object) -> Producer:
    return Producer({"bootstrap.servers": broker.bootstrap_servers, **more})


def in_transaction(broker: EmbeddedBroker) -> Producer:
    """A producer whose transaction is open."""
    name = f"service-{uuid4().hex}"
    producer = producer_of(broker, **{"transactional.id": name, "transaction.timeout.ms": OPEN_MS})
    producer.init_transactions(KAFKA_S)
    producer.begin_transaction()
    return producer


def ask(producer: Producer, session: str, text: str) -> Receipt:
    prompt = PromptSubmitted(user=USER, session=session, prompt_id="p1", input=text)
    producer.produce(PROMPTS, encode(prompt), key=USER.encode(), partition=PARTITION)
    assert producer.flush(KAFKA_S) == 0
    turn = turn_id_of(UserId(USER), SessionId(session), PromptId("p1"))
    return Receipt(USER, session, "p1", turn, PROMPTS, PARTITION, 0)


def committed_and_end(line: WorkerLine) -> tuple[int, int]:
    """How far the workers have committed, and where the partition ends."""
    place = TopicPartition(PROMPTS, PARTITION)
    options = {"bootstrap.servers": line.broker.bootstrap_servers, "group.id": line.settings.worker_group_name}
    consumer = Consumer(options)
    try:
        (committed,) = consumer.committed([place], KAFKA_S)
        return committed.offset, consumer.get_watermark_offsets(place, KAFKA_S)[1]
    finally:
        consumer.close()


async def test_only_what_was_committed_is_answered(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """An aborted prompt costs nothing; prompts behind an open transaction wait for its end; markers stall no commit."""
    async with open_line(broker, tmp_path) as line:
        worker = line.start_worker()
        committing, aborting = [await asyncio.to_thread(in_transaction, broker) for _ in range(2)]
        committed = ask(committing, "committed", COMMITTED)
        ask(aborting, "aborted", "Was I aborted?")
        await asyncio.to_thread(committing.commit_transaction, KAFKA_S)
        await asyncio.to_thread(aborting.abort_transaction, KAFKA_S)
        first = await line.ended(committed, ENDED_S)

        dying = await asyncio.to_thread(in_transaction, broker)
        ask(dying, "open", "Was I left open?")
        behind = ask(producer_of(broker), "behind", BEHIND)
        second = await line.ended(behind, ENDED_S)
        third = await line.ended(ask(producer_of(broker), "after", AFTER), ENDED_S)
        await until(lambda: len(set(committed_and_end(line))) == 1, KAFKA_S)

        assert [turn.ended and turn.ended.reason for turn in (first, second, third)] == ["complete"] * 3
        assert [turn.text for turn in (first, second, third)] == [
            answer_text(text) for text in (COMMITTED, BEHIND, AFTER)
        ]
        assert [await line.events(USER, session) for session in ("aborted", "open")] == [[], []]
        assert len(line.provider.calls) == 3
        assert "batch_unreadable" not in line.log_of(worker)  # neither markers nor what was aborted counts as lost
