"""On brokers that create whatever topic they are asked for, as Kafka does by default, no client of ours makes one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
from structlog.testing import capture_logs

from gateway.fetching.fetch_session_reader import FetchSessionReader
from infra.clock import SystemClock
from infra.embedded.broker import EmbeddedBroker
from infra.kafka.connection import librdkafka_options
from infra.kafka.log_client import LogClient, LogRecord, UnknownLog
from infra.kafka.session_topics import SessionTopics
from infra.kafka.topic_admin import ensure_topics
from infra.ports import find_free_port
from infra.settings import Settings, load_settings
from processors.analytics.records_consumer import RecordsConsumer
from processors.writing.log_appender import LogAppender
from producers.errors import ProducerError
from schemas.client_messages import Prompt
from schemas.identifiers import SessionId, SessionKey, UserId, session_key_of
from tests.fakes.topic_names import NAMES, PROMPTS, fixed_topics, session_place
from tests.integration.broker_fixture import new_broker
from tests.integration.gateway_line import SECRET, WireClient, running_gateway
from tests.integration.request_recorder import RequestRecorder, recording
from tests.integration.worker_line import open_line

__all__: list[str] = []

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEADLINE_S = 120.0
POLL_S = 0.05
ADMIN_S = 10.0
REFRESHES = 3
"""Requests of each client about a topic that is gone, before the broker's topics are looked at."""
WORKER = "tokenwire-worker-prompts"
"""What Faust's consumer and producer call themselves."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def willing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[EmbeddedBroker, RequestRecorder]]:
    """A broker that creates topics, and the recorder that all clients pass."""
    port, recorded = find_free_port(), find_free_port()
    willing = {"auto.create.topics.enable": "true", "advertised.listeners": f"CLIENT://127.0.0.1:{recorded}"}
    broker = new_broker(tmp_path_factory.mktemp("willing"), port=port, extra_properties=willing)
    async with recording(port, recorded) as recorder:
        await broker.start()
        try:
            yield broker, recorder
        finally:
            await broker.stop()


class Topics:
    """The broker's topics, asked for past the recorder and by nothing of ours."""

    def __init__(self, settings: Settings) -> None:
        self.admin = AdminClient(librdkafka_options(settings) | {"client.id": "test-admin"})

    async def names(self) -> set[str]:
        """All but Kafka's own."""
        listed = await asyncio.to_thread(self.admin.list_topics, None, ADMIN_S)
        return {name for name in listed.topics if not name.startswith("__")}

    async def delete(self, topic: str) -> None:
        """Delete a topic, and wait until the broker knows."""
        await asyncio.to_thread(self.admin.delete_topics([topic])[topic].result, ADMIN_S)
        await until(lambda: self.is_gone(topic))

    async def is_gone(self, topic: str) -> bool:
        """Whether there is no such topic."""
        return topic not in await self.names()

    async def is_there(self, topic: str) -> bool:
        """Whether there is such a topic."""
        return topic in await self.names()

    async def retention(self, topic: str) -> str:
        """Where the topic's retention comes from: its own configuration, where somebody created it on purpose."""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        entries = await asyncio.to_thread(self.admin.describe_configs([resource])[resource].result, ADMIN_S)
        return entries["retention.ms"].value if not entries["retention.ms"].is_default else "the broker's"


class Follower:
    """Notes what a reader says."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def deliver(self, records: Sequence[LogRecord]) -> None:
        """See `LogFollower.deliver`."""

    def lost(self, reason: Any) -> None:
        """See `LogFollower.lost`."""
        self.reasons.append(reason)

    def expects_records(self) -> bool:
        """See `LogFollower.expects_records`."""
        return True


async def until(holds: Callable[[], Any]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            found = holds()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(POLL_S)


async def test_session_topic_deleted_under_readers_and_appender(
    willing: tuple[EmbeddedBroker, RequestRecorder], tmp_path: Path
) -> None:
    """Reader of the past, appender and the gateway's follower ask for it again and again; it stays deleted."""
    broker, recorder = willing
    key, follower = SessionKey("deletedunderreaders"), Follower()
    async with open_line(broker, tmp_path, kafka=f"127.0.0.1:{recorder.port}") as line, AsyncExitStack() as stack:
        topics, settings = Topics(line.settings), line.settings
        session_topics, reader = SessionTopics(settings), LogClient(settings, role="deleted-reader")
        appender = LogAppender(settings, SystemClock(), role="deleted-appender")
        fetching = FetchSessionReader(settings, SystemClock())
        for part in (session_topics, reader, appender, fetching):
            await part.start()
            stack.push_async_callback(part.stop)
        log = await session_topics.ensure(key)
        topic = log.place.topic
        await appender.append(topic, 0, b"{}")
        fetching.follow(log.place, key, 0, follower)
        assert (await reader.bounds(topic, 0)).end == 1
        await topics.delete(topic)

        with pytest.raises(UnknownLog):
            await reader.bounds(topic, 0)
        appending = asyncio.create_task(appender.append(topic, 0, b"{}"))
        stack.callback(appending.cancel)
        for role in ("deleted-reader", "deleted-appender", "gateway-follow"):
            await until(partial(recorder.has_asked, NAMES.member(role), topic, REFRESHES))
        await until(lambda: follower.reasons)
        assert await topics.is_gone(topic)
        assert await topics.names() == {spec.name for spec in fixed_topics("dedicated")}
        assert recorder.may_create() == []


async def test_hint_for_the_operator(willing: tuple[EmbeddedBroker, RequestRecorder]) -> None:
    """Nothing is refused: one line of the log says what such a broker is apt to do."""
    settings = load_settings({}, kafka=f"127.0.0.1:{willing[1].port}")
    with capture_logs() as logs:
        await ensure_topics(settings, fixed_topics("dedicated"))

    (hint,) = [entry for entry in logs if entry["event"] == "brokers_create_topics"]
    assert "auto.create.topics.enable=false" in hint["advice"]


async def test_whole_line_on_a_broker_that_creates_topics(
    willing: tuple[EmbeddedBroker, RequestRecorder], tmp_path: Path
) -> None:
    """Worker, gateway, analytics' consumer and SDK work there; a session's topic that was deleted is made anew by
    whoever wants it, as it must be, and the prompts topic by nobody."""
    broker, recorder = willing
    more: dict[str, Any] = {"kafka": f"127.0.0.1:{recorder.port}", "auth_secret": SECRET, "cursor_secret": SECRET[::-1]}
    async with open_line(broker, tmp_path, gateway_port=0, analytics_port=0, **more) as line:
        topics, consumer = Topics(line.settings), RecordsConsumer(line.settings)
        worker = line.start_worker()
        await line.wait_for_log(worker, "worker_ready", DEADLINE_S)
        await consumer.start()
        place = session_place(session_key_of(UserId("alice"), SessionId("s1")), "dedicated")
        try:
            async with running_gateway(line.settings) as port, WireClient.connected(port) as client:
                await client.send(Prompt(session="s1", prompt_id="p1", input="before"))
                await client.until("end")
                await topics.delete(place.topic)
                await client.send(Prompt(session="s1", prompt_id="p2", input="after"))
                before = recorder.count("tokenwire-worker", place.topic)
                await until(partial(recorder.has_asked, "tokenwire-worker", place.topic, before + REFRESHES))
                await until(lambda: topics.is_there(place.topic))
                assert await topics.retention(place.topic) == str(line.settings.session_retention_h * 3_600_000)

                await topics.delete(PROMPTS)
                with pytest.raises(ProducerError):
                    await line.producer.submit("to nowhere", user="alice", session="s1")
                asked = recorder.count(WORKER, PROMPTS)
                await until(partial(recorder.has_asked, WORKER, PROMPTS, asked + REFRESHES))
                worker.kill()  # without the prompts topic it has nowhere to say goodbye
        finally:
            await consumer.stop()

        fixed = {spec.name for spec in fixed_topics("dedicated")}
        assert await topics.names() == (fixed - {PROMPTS}) | {place.topic}
        assert recorder.may_create() == []
        assert {"tokenwire-worker", "tokenwire-worker-reads", "tokenwire-topics"} <= recorder.clients()
        assert {"tokenwire-gateway-log", "tokenwire-analytics", "tokenwire"} <= recorder.clients()
