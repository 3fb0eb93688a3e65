"""A topic whose only replica's broker is away is there: it is waited for, and never taken for a deleted one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from infra.clock import SystemClock
from infra.embedded.cluster import EmbeddedCluster
from infra.kafka.log_client import LogClient, LogUnavailable
from infra.kafka.session_topics import SessionTopics
from processors.writing import log_appender
from processors.writing.log_appender import LogAppender
from schemas.identifiers import SessionKey
from tests.fakes.topic_names import session_place
from tests.integration.gateway_line import gateway_settings

__all__: list[str] = []

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = SessionKey("leaderless")
WAIT_S = 30.0
AWAY = 2
"""The broker that goes away, by its place in the cluster."""


async def test_topic_without_a_leader(
    three_brokers: EmbeddedCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who reads is told to try again, who appends waits; only a deletion is one."""
    monkeypatch.setattr(log_appender, "GONE_AFTER_S", 0.5)
    settings = await gateway_settings(three_brokers, tmp_path)
    place = session_place(KEY, "dedicated")
    await asyncio.to_thread(make_on_one_broker, settings.bootstrap_servers, place.topic)
    topics, reader, appender = SessionTopics(settings), LogClient(settings), LogAppender(settings, SystemClock())
    for part in (topics, reader, appender):
        await part.start()
    try:
        found = await topics.ensure(KEY)
        await three_brokers.brokers[AWAY].stop(0.0)
        await until_leaderless(topics, place.topic)

        with pytest.raises(LogUnavailable):
            await reader.end(place.topic, 0)
        assert not await topics.is_gone(found)
        appending = asyncio.create_task(appender.append(place.topic, 0, b"a"))
        await three_brokers.brokers[AWAY].start()
        async with asyncio.timeout(WAIT_S):
            assert await appending == 0
        await topics.delete(KEY)
        assert await topics.is_gone(found)
        assert not await topics.is_gone(await topics.ensure(KEY))
        assert await topics.is_gone(found)
    finally:
        for part in (appender, reader, topics):
            await part.stop()


def make_on_one_broker(servers: str, topic: str) -> None:
    client = AdminClient({"bootstrap.servers": servers})
    alone = NewTopic(topic, 1, replica_assignment=[[AWAY + 1]], config={"min.insync.replicas": "1"})
    client.create_topics([alone])[topic].result(WAIT_S)


async def until_leaderless(topics: SessionTopics, topic: str) -> None:
    async with asyncio.timeout(WAIT_S):
        while (await topics.directory.look_up([topic])).leaders:  # noqa: ASYNC110  # brokers tell nobody
            await asyncio.sleep(0.05)
