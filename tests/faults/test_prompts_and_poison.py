"""Prompts sent twice, reused, cancelled and malformed: rows R16, R17, R18 and R30, and bad input from any client.

Covers: processors.app.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from confluent_kafka import Producer as PlainProducer

from infra.embedded.broker import EmbeddedBroker
from processors.app import build_app
from processors.providers.provider import ChatRequest, ProviderChunk
from producers.sdk import Receipt
from schemas.codec import decode_session_event
from schemas.errors import InvalidField
from schemas.identifiers import PromptId, SessionId, UserId, session_key_of, turn_id_of
from schemas.session_events import PromptRefused
from schemas.topics import user_partition
from tests.fakes.topic_names import PROMPTS, session_place
from tests.integration.worker_line import WorkerLine, answer_text, open_line


@pytest.fixture
def user() -> str:
    """A user of the test's own, so that tests can share a broker."""
    return f"user-{uuid4().hex}"


def publish(line: WorkerLine, value: bytes | None, *, key: str, partition: int) -> None:
    """Publish as a foreign producer would: plain confluent-kafka, bytes of its own."""
    producer = PlainProducer({"bootstrap.servers": line.broker.bootstrap_servers, "message.max.bytes": 2_000_000})
    producer.produce(PROMPTS, value=value, key=key.encode(), partition=partition)
    assert producer.flush(20) == 0


def receipt_of(user: str, session: str, prompt_id: str) -> Receipt:
    turn = turn_id_of(UserId(user), SessionId(session), PromptId(prompt_id))
    return Receipt(user, session, prompt_id, turn, PROMPTS, user_partition(user), -1)


async def test_plain_json_of_any_kafka_client_is_answered(line: WorkerLine, user: str) -> None:
    """The documented JSON, published by plain confluent-kafka onto the wrong partition, is still answered once."""
    line.start_worker()
    body = {"type": "prompt.submitted", "user": user, "session": "s1", "prompt_id": "p1", "input": "What is tide?"}
    wrong = (user_partition(user) + 1) % 12
    publish(line, json.dumps(body).encode(), key=user, partition=wrong)

    turn = await line.ended(receipt_of(user, "s1", "p1"))

    assert turn.text == answer_text("What is tide?")
    assert len(line.provider.calls) == 1


async def test_r16_poison_becomes_dead_letters_and_the_partition_goes_on(line: WorkerLine, user: str) -> None:
    """Bad JSON, null, a wrong schema, an unknown type and 1.5 MB: each is told apart, the next prompt is answered."""
    line.start_worker()
    partition = user_partition(user)
    poison = {
        "bad json": b'{"type": "prompt.submitted", ' + user.encode(),
        "null": None,
        "wrong shape": json.dumps({"type": "prompt.submitted", "user": 7, "note": user}).encode(),
        "unknown version": json.dumps({"type": "prompt.submitted.v9", "user": user}).encode(),
        "bad session": json.dumps(
            {"type": "prompt.submitted", "user": user, "session": "../x", "prompt_id": "p", "input": "x"}
        ).encode(),
        "not utf-8": b"\xff\xfe" + user.encode(),
    }
    for value in poison.values():
        publish(line, value, key=user, partition=partition)
    large = {"type": "prompt.submitted", "user": user, "session": "s1", "prompt_id": "big", "input": "x" * 1_500_000}
    publish(line, json.dumps(large).encode(), key=user, partition=partition)
    receipt = await line.producer.submit("still alive?", user=user, session="s1")

    turn = await line.ended(receipt)
    letters = [letter for letter in await line.dead_letters() if letter.key == user.encode()]

    assert turn.text == answer_text("still alive?")
    assert len(letters) == len(poison)
    assert {letter.topic for letter in letters} == {PROMPTS}
    assert {letter.partition for letter in letters} == {partition}
    assert len({letter.offset for letter in letters}) == len(poison)
    assert {letter.reason for letter in letters} == {"malformed", "unknown_type", "invalid_field"}
    rejected = await line.ended(receipt_of(user, "s1", "big"))
    assert rejected.ended is not None
    assert rejected.ended.reason == "rejected"
    assert rejected.ended.error is not None
    assert rejected.ended.error.code == "prompt_too_large"


async def test_prompt_of_80_000_tokens_by_the_sdk(line: WorkerLine, user: str) -> None:
    """One record, one call with every word of it; one that is larger than may be is refused before it is sent."""
    line.start_worker()
    words = "Which of these words comes last? " + "word " * 80_000
    receipt = await line.producer.submit(words, user=user, session="s1")
    with pytest.raises(InvalidField) as refused:
        await line.producer.submit("x" * 600_000, user=user, session="s1")

    assert (await line.ended(receipt)).text == answer_text(words)
    assert (refused.value.field, refused.value.code) == ("input", "prompt_too_large")


async def test_unknown_model_and_empty_prompt_end_rejected(line: WorkerLine, user: str) -> None:
    """What the SDK can't know is answered by the worker, naming the field and the remedy."""
    line.start_worker()
    receipt = await line.producer.submit("hello", user=user, session="s1", model="gpt-unheard-of")

    turn = await line.ended(receipt)

    assert turn.ended is not None
    assert (turn.ended.reason, turn.ended.attempt) == ("rejected", 0)
    assert turn.ended.error is not None
    assert turn.ended.error.code == "unknown_model"
    assert "simulated" in turn.ended.error.message
    assert line.provider.calls == []
    records = await line.until_records(1, receipt)
    assert records[-1].outcome is not None
    assert records[-1].outcome.reason == "rejected"


async def test_r18_same_prompt_twice_is_paid_once(line: WorkerLine, user: str) -> None:
    """Sent twice at once, again while it runs and again after the end: one call, one ending."""
    line.start_worker()
    twice = [
        line.producer.submit("[[sim tokens=30 pace_ms=20]] once", user=user, session="s1", prompt_id="same")
        for _ in range(2)
    ]
    receipt, _ = await asyncio.gather(*twice)
    await line.until_tokens(receipt, 2)
    await line.producer.submit("[[sim tokens=30 pace_ms=20]] once", user=user, session="s1", prompt_id="same")
    await line.ended(receipt)
    await line.producer.submit("[[sim tokens=30 pace_ms=20]] once", user=user, session="s1", prompt_id="same")
    marker = await line.producer.submit("marker", user=user, session="s1")
    await line.ended(marker)

    fold = await line.fold(user, "s1")

    assert set(fold.turns) == {receipt.turn, marker.turn}
    assert len(line.provider.calls) == 2
    assert len(await line.until_records(2, receipt, marker)) == 2


async def test_prompt_id_reused_with_other_words_is_refused(line: WorkerLine, user: str) -> None:
    """The first words are answered; the others get a refusal that says what to do."""
    line.start_worker()
    receipt = await line.producer.submit("first words", user=user, session="s1", prompt_id="p1")
    await line.ended(receipt)
    await line.producer.submit("other words", user=user, session="s1", prompt_id="p1")
    marker = await line.producer.submit("marker", user=user, session="s1")
    await line.ended(marker)

    place = session_place(session_key_of(UserId(user), SessionId("s1")), "dedicated")
    bounds = await line.reader.bounds(place.topic, place.partition)
    events = [
        decode_session_event(record.value or b"")
        async for records in line.reader.read(place.topic, place.partition, bounds.start, bounds.end)
        for record in records
    ]

    refused = [event for event in events if isinstance(event, PromptRefused)]
    assert [(event.prompt_id, event.code) for event in refused] == [("p1", "id_reused")]
    assert len(line.provider.calls) == 2


async def cancel(line: WorkerLine, receipt: Receipt) -> None:
    await line.producer.cancel(user=receipt.user, session=receipt.session, prompt_id=receipt.prompt_id)


async def test_r30_cancel_running_waiting_and_early(line: WorkerLine, user: str) -> None:
    """A cancel ends a running turn within a second, one in line, and one whose prompt has not come yet."""
    line.start_worker()
    running = await line.producer.submit("[[sim tokens=500 pace_ms=50]] long", user=user, session="s1")
    waiting = await line.producer.submit("never asked", user=user, session="s1")
    early = receipt_of(user, "s1", "early")
    await line.until_tokens(running, 3)
    for receipt in (waiting, early, running):
        await cancel(line, receipt)

    stopped = await line.ended(running, deadline_s=10)
    unasked = await line.ended(waiting, deadline_s=10)
    await line.producer.submit("too late", user=user, session="s1", prompt_id="early")
    unwanted = await line.ended(early, deadline_s=10)

    for turn in (stopped, unasked, unwanted):
        assert turn.ended is not None
        assert turn.ended.reason == "cancelled"
    assert stopped.ended is not None
    assert stopped.ended.usage.output_tokens >= 3, "what was generated is billed"
    assert stopped.text
    assert [call.state for call in line.provider.calls] == ["aborted"]


class Broken:
    """A provider whose adapter has a bug."""

    name = "broken"
    calls = 0

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[list[ProviderChunk]]]:
        if request.messages[-1].content.startswith("poison"):
            self.calls += 1
            raise ZeroDivisionError("a bug")
        yield self.nothing()

    async def nothing(self) -> AsyncIterator[list[ProviderChunk]]:
        for _ in range(0):
            yield []

    async def aclose(self) -> None:
        """Nothing to close."""


async def test_r17_a_bug_ends_one_prompt_and_nothing_else(broker: EmbeddedBroker, tmp_path: Path, user: str) -> None:
    """Our own code fails on one prompt: three attempts, then `error` and a dead letter; its neighbour is answered."""
    async with open_line(broker, tmp_path) as line:
        provider: Any = Broken()
        worker = build_app(line.settings, provider=provider)
        await worker.parts.appender.start()
        await worker.parts.reader.start()
        await worker.parts.topics.start()
        await worker.faust.start()
        try:
            poison = await line.producer.submit("poison", user=user, session="s1")
            neighbour = await line.producer.submit("fine", user=user, session="s2")
            ended = await line.ended(poison)
            fine = await line.ended(neighbour)
        finally:
            await worker.ownership.drain(1.0)
            await worker.faust.stop()
            await worker.parts.topics.stop()
            await worker.parts.reader.stop()
            await worker.parts.appender.stop()

        assert ended.ended is not None
        assert (ended.ended.reason, ended.attempt, provider.calls) == ("error", 3, 3)
        assert fine.ended is not None
        assert fine.ended.reason == "incomplete"
        letters = [letter for letter in await line.dead_letters() if letter.user == user]
        assert [(letter.reason, letter.session) for letter in letters] == [("handler_error", "s1")]
