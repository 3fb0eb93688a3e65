"""Session topics are asked for in batches; nobody waits for an answer that never comes.

Covers: infra.kafka.decisions.topic_ceiling.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection

import pytest
from confluent_kafka import KafkaError, KafkaException
from structlog.testing import capture_logs

from infra.kafka.decisions import topic_ceiling
from infra.kafka.session_topics import (
    SessionLog,
    SessionTopicRefused,
    SessionTopics,
    SessionTopicsFull,
    SessionTopicsUnavailable,
)
from infra.settings import load_settings
from schemas.identifiers import SessionKey
from schemas.topics import TopicSpec

__all__: list[str] = []


class ScriptedTopics(SessionTopics):
    """A cluster in memory: knows what was created, after failing as often as it is told."""

    def __init__(self, *failures: Exception, layout: str = "dedicated") -> None:
        super().__init__(load_settings({}, topic_layout=layout))
        self.failures = list(failures)
        self.batches: list[list[str]] = []
        self.there: set[str] = set()
        self.refusals: dict[str, KafkaError] = {}
        self.asked = threading.Event()
        self.counts = 0
        self.answering = threading.Event()
        self.answering.set()

    async def start(self) -> None:
        """No client: everything that would use it is answered here."""
        self._asker = asyncio.create_task(self.create_what_waits())

    def create(self, specs: list[TopicSpec]) -> dict[str, KafkaError]:
        """Remember them."""
        self.asked.set()
        self.answering.wait(10)
        if self.failures:
            raise self.failures.pop(0)
        self.batches.append([spec.name for spec in specs])
        refused = {spec.name: self.refusals[spec.name] for spec in specs if spec.name in self.refusals}
        self.there.update(spec.name for spec in specs if spec.name not in refused)
        return refused

    def count_topics(self) -> int:
        """Those that are there."""
        self.counts += 1
        return len(self.there)

    async def describe(self, topics: Collection[str]) -> dict[str, str]:
        """Ids of those that exist."""
        return {topic: f"id-of-{topic}" for topic in topics if topic in self.there or "session." not in topic}

    def delete_topic(self, topic: str) -> KafkaError | None:
        """Forget it."""
        self.there.discard(topic)
        return self.refusals.get(topic)


def key(number: int) -> SessionKey:
    return SessionKey(f"key{number}")


async def test_sessions_that_come_while_a_batch_is_under_way() -> None:
    """They are created together in the next; each is asked for once."""
    topics = ScriptedTopics()
    await topics.start()
    topics.answering.clear()
    asking = [asyncio.create_task(topics.ensure(key(0)))]
    await asyncio.to_thread(topics.asked.wait, 10)
    asking += [asyncio.create_task(topics.ensure(key(number % 3 + 1))) for number in range(9)]
    await asyncio.sleep(0)
    assert len(topics.waiting) == 3
    topics.answering.set()
    logs = await asyncio.gather(*asking)
    await topics.stop()

    assert [len(batch) for batch in topics.batches] == [1, 3]
    assert logs[0].epoch == "id-of-tokenwire.session.key0"
    assert await topics.find(key(1)) == logs[1]


async def test_topics_that_are_there() -> None:
    """They are not created once more: that is work for the cluster's controller, for each one."""
    topics = ScriptedTopics()
    topics.there.add("tokenwire.session.key1")
    await topics.start()
    old, new = await asyncio.gather(topics.ensure(key(1)), topics.ensure(key(2)))
    await topics.stop()

    assert topics.batches == [["tokenwire.session.key2"]]
    assert (old.epoch, new.epoch) == ("id-of-tokenwire.session.key1", "id-of-tokenwire.session.key2")


@pytest.mark.parametrize("failure", [SessionTopicsUnavailable("no answer"), KafkaException("broken")])
async def test_cluster_that_fails_once(failure: Exception) -> None:
    """Whoever waited is told; the next one is served."""
    topics = ScriptedTopics(failure)
    await topics.start()
    with pytest.raises(SessionTopicsUnavailable):
        await topics.ensure(key(1))
    found = await topics.ensure(key(1))
    await topics.stop()

    assert found.place.topic == "tokenwire.session.key1"


async def test_S22_no_more_topics_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is one too many is refused at once, with a time to wait; what is there is found; deletions make room."""
    topics = ScriptedTopics()
    topics.ceiling = 3
    await topics.start()
    made = await asyncio.gather(*(topics.ensure(key(number)) for number in range(5)), return_exceptions=True)
    refused = [outcome for outcome in made if isinstance(outcome, SessionTopicsFull)]
    assert [refusal.retry_after_s for refusal in refused] == [60.0, 60.0]
    assert "TOKENWIRE_SESSION_TOPICS_MAX" in str(refused[0])
    assert len(topics.there) == 3
    assert await topics.ensure(key(0)) == made[0]
    await topics.delete(key(0))
    await topics.ensure(key(4))
    with pytest.raises(SessionTopicsFull):
        await topics.ensure(key(0))
    assert topics.counts == 1

    topics.there.discard("tokenwire.session.key4")  # by somebody else
    monkeypatch.setattr(topic_ceiling, "FULL_RECOUNT_S", 0.0)
    await topics.ensure(key(0))
    await topics.stop()


async def test_S22_more_topics_than_may_be_are_there_already() -> None:
    """An older version made them: each is found, none is added, and the sentence says what to do."""
    topics = ScriptedTopics()
    topics.ceiling = 3
    topics.there = {f"tokenwire.session.key{number}" for number in range(5)}
    await topics.start()
    found = await asyncio.gather(*(topics.ensure(key(number)) for number in range(5)))
    with pytest.raises(SessionTopicsFull, match=r"holds 5 topics of sessions.*allows 3\..*LAYOUT=shared"):
        await topics.ensure(key(5))
    await topics.stop()

    assert [each.epoch for each in found] == [f"id-of-tokenwire.session.key{number}" for number in range(5)]
    assert topics.batches == []


async def test_operator_is_warned_before_there_is_no_room() -> None:
    """Once, from 80 % on, and again after it was less; the number is shown all the time."""
    topics, shown = ScriptedTopics(), list[int]()
    topics.ceiling, topics.on_count = 5, shown.append
    await topics.start()
    with capture_logs() as logged:
        for number in range(5):
            await topics.ensure(key(number))
        await topics.delete(key(3))
        await topics.delete(key(4))
        await topics.ensure(key(5))
    await topics.stop()

    warned = [entry["topics"] for entry in logged if entry["event"] == "session_topics_nearly_full"]
    assert shown == [1, 2, 3, 4, 5, 4, 3, 4]
    assert warned == [4, 4]


@pytest.mark.parametrize(
    ("given", "ceiling"),
    [
        ({}, 5_000),
        ({"kafka_heap_mb": 1_536}, 10_000),
        ({"kafka_heap_mb": 65_536}, 20_000),
        ({"kafka": "kafka:9092"}, 20_000),
        ({"kafka": "kafka:9092", "session_topics_max": 70_000}, 70_000),
        ({"session_topics_max": 1}, 1),
    ],
)
def test_ceiling_is_what_a_broker_survives(given: dict[str, str | int], ceiling: int) -> None:
    """By the heap of embedded brokers, never more than may be mapped; or as it is set."""
    assert load_settings({}, **given).session_topics_ceiling == ceiling


async def test_stopping_while_the_cluster_is_asked() -> None:
    """Whoever waits is told at once."""
    topics = ScriptedTopics()
    await topics.start()
    topics.answering.clear()
    asking = asyncio.create_task(topics.ensure(key(1)))
    await asyncio.to_thread(topics.asked.wait, 10)
    await topics.stop()
    with pytest.raises(SessionTopicsUnavailable):
        await asking
    topics.answering.set()


async def test_deleted_session() -> None:
    """It is not found any more; in the shared layout nothing is deleted."""
    topics, shared = ScriptedTopics(), ScriptedTopics(layout="shared")
    for each in (topics, shared):
        await each.start()
        await each.ensure(key(1))
        await each.delete(key(1))

    assert await topics.find(key(1)) is None
    assert await shared.find(key(1)) is not None
    for each in (topics, shared):
        await each.stop()


async def test_topic_that_the_cluster_refuses() -> None:
    """Whoever wants it hears the cluster's words and what to do; others of the same batch get theirs."""
    topics = ScriptedTopics()
    topics.refusals["tokenwire.session.key1"] = KafkaError(KafkaError.POLICY_VIOLATION, "no more partitions")
    await topics.start()
    refused, made = await asyncio.gather(topics.ensure(key(1)), topics.ensure(key(2)), return_exceptions=True)
    with pytest.raises(SessionTopicRefused):
        await topics.delete(key(1))
    await topics.stop()

    assert isinstance(refused, SessionTopicRefused)
    assert "no more partitions" in str(refused)
    assert "TOKENWIRE_TOPIC_LAYOUT=shared" in str(refused)
    assert isinstance(made, SessionLog)


async def test_topic_that_has_to_wait() -> None:
    """A quota on changes fills again, so nobody is turned away for it."""
    topics = ScriptedTopics()
    topics.refusals["tokenwire.session.key1"] = KafkaError(KafkaError.THROTTLING_QUOTA_EXCEEDED, "too many changes")
    await topics.start()
    with pytest.raises(SessionTopicsUnavailable):
        await topics.ensure(key(1))
    topics.refusals.clear()
    found = await topics.ensure(key(1))
    await topics.stop()

    assert found.place.topic == "tokenwire.session.key1"
