"""Topics on a real broker: created once, checked ever after."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from confluent_kafka import TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from infra.embedded.broker import EmbeddedBroker
from infra.kafka.session_topics import SessionTopics
from infra.kafka.topic_admin import TopicsUnavailable, TopicsUnfit, ensure_topics
from infra.ports import find_free_port
from infra.settings import Settings, load_settings
from schemas.identifiers import SessionKey
from schemas.topics import TopicSpec
from tests.fakes.topic_names import fixed_topics

QUERY_S = 10


@pytest.fixture
def settings(broker: EmbeddedBroker) -> Settings:
    return load_settings({}, kafka=broker.bootstrap_servers)


async def topics_of(settings: Settings) -> dict[str, Any]:
    client = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    metadata = await asyncio.to_thread(client.list_topics, None, QUERY_S)
    return {name: topic for name, topic in metadata.topics.items() if not name.startswith("__")}


async def config_of(settings: Settings, topic: str) -> dict[str, str]:
    client = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    resource = ConfigResource(ResourceType.TOPIC, topic)
    entries = await asyncio.to_thread(client.describe_configs([resource])[resource].result, QUERY_S)
    return {name: entry.value for name, entry in entries.items()}


async def test_fixed_topics_of_both_layouts(settings: Settings) -> None:
    """All are there with their partitions and configuration, also when several processes ask at once, and again."""
    specs = fixed_topics("shared")
    await asyncio.gather(*(ensure_topics(settings, specs) for _ in range(3)))
    await ensure_topics(settings, fixed_topics("dedicated"))
    found = await topics_of(settings)

    for spec in specs:
        assert len(found[spec.name].partitions) == spec.partitions
        assert spec.config.items() <= (await config_of(settings, spec.name)).items()


async def test_topic_with_other_partitions(settings: Settings) -> None:
    """The sentences name each topic and both counts; nothing is changed."""
    await ensure_topics(settings, [TopicSpec("unfit-a", 1), TopicSpec("unfit-b", 2)])
    with pytest.raises(TopicsUnfit) as caught:
        await ensure_topics(settings, [TopicSpec("unfit-a", 3), TopicSpec("unfit-b", 3)])

    assert [fault.split(";")[0] for fault in caught.value.faults] == [
        "Topic unfit-a has 1 partitions and needs 3",
        "Topic unfit-b has 2 partitions and needs 3",
    ]
    assert len((await topics_of(settings))["unfit-a"].partitions) == 1


async def test_more_replicas_than_brokers(settings: Settings, broker: EmbeddedBroker) -> None:
    """The broker's own words are in the sentence; a topic that has too few replicas is named."""
    cluster = load_settings({}, kafka=broker.bootstrap_servers, kafka_replication=3)
    with pytest.raises(TopicsUnavailable, match="Topic too-many could not be created"):
        await ensure_topics(cluster, [TopicSpec("too-many", 1)])
    await ensure_topics(settings, [TopicSpec("too-few", 1)])
    with pytest.raises(TopicsUnfit, match=r"too-few has 1 replicas and TOKENWIRE_KAFKA_REPLICATION asks for 3"):
        await ensure_topics(cluster, [TopicSpec("too-few", 1)])


async def test_no_broker() -> None:
    """It gives up at its deadline with one sentence that names the address."""
    nowhere = f"127.0.0.1:{find_free_port()}"
    with pytest.raises(TopicsUnavailable, match=nowhere):
        await ensure_topics(load_settings({}, kafka=nowhere), [TopicSpec("any", 1)], deadline_s=0.3)


async def test_id_of_a_session_topic(settings: Settings) -> None:
    """It is the broker's, in the words that cursors have always had it in; a topic made anew has another one."""
    topics, key = SessionTopics(settings.model_copy(update={"topic_layout": "dedicated"})), SessionKey("topic-id")
    await topics.start()
    try:
        assert await topics.find(key) is None
        made = await topics.ensure(key)
        name = TopicCollection([made.place.topic])
        client = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
        described = client.describe_topics(name)
        told = await asyncio.to_thread(described[made.place.topic].result, QUERY_S)
        await topics.delete(key)
        again = await topics.ensure(key)
    finally:
        await topics.stop()

    assert made.epoch == str(told.topic_id)
    assert again.epoch != made.epoch
