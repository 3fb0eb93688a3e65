"""A session whose topic the cluster refuses: whoever asked is told, and nothing waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from infra.kafka.connection import librdkafka_options
from infra.kafka.topic_admin import TopicsUnavailable, ensure_topics
from infra.settings import load_settings
from schemas.client_messages import Prompt
from schemas.topics import TopicSpec
from tests.integration.broker_fixture import new_broker
from tests.integration.gateway_line import SECRET, WireClient, running_gateway
from tests.integration.worker_line import WorkerLine, open_line

__all__: list[str] = []

ADMIN_S = 10.0
DEADLINE_S = 100.0
POLL_S = 0.05
GUARDED = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
    "default.replication.factor": "2",
}
"""Rights are checked; and topics get more replicas than there are brokers, where nobody says how many."""
ANYBODY = "User:*"
SESSIONS = "tokenwire.session."


def rules() -> list[AclBinding]:
    """Everything is allowed but to create topics for sessions."""
    cluster = (ResourceType.BROKER, "kafka-cluster", ResourcePatternType.LITERAL, ANYBODY, "*")
    sessions = (ResourceType.TOPIC, SESSIONS, ResourcePatternType.PREFIXED, ANYBODY, "*")
    return [
        AclBinding(*place, operation, permission)
        for place in (cluster, sessions)
        for operation, permission in (
            (AclOperation.ALL, AclPermissionType.ALLOW),
            (AclOperation.CREATE, AclPermissionType.DENY),
        )
    ]


@contextmanager
def no_new_sessions(admin: AdminClient) -> Iterator[None]:
    """While in here, the broker refuses to create a session's topic."""
    bindings = rules()
    for answer in admin.create_acls(bindings).values():
        answer.result(ADMIN_S)
    try:
        yield
    finally:
        anything = AclBindingFilter(
            ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
        )
        for answer in admin.delete_acls([anything]).values():
            answer.result(ADMIN_S)


async def until_dead_letters(line: WorkerLine, count: int) -> list[Any]:
    """Wait for so many dead letters."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            letters = await line.dead_letters()
            if len(letters) >= count:
                return letters
            await asyncio.sleep(POLL_S)


async def test_sessions_without_the_right_to_a_topic(tmp_path: Path) -> None:
    """A prompt ends in `error`, with a dead letter that has the cluster's words, and who sent it through a gateway is
    told; both sessions' next ones are answered once the right is there. A third session is one too many (row S22): who
    sent it is told when to come back, and the others go on."""
    broker = new_broker(tmp_path / "broker", extra_properties=GUARDED)
    await broker.start()
    more: dict[str, Any] = {"kafka_replication": 1, "auth_secret": SECRET, "cursor_secret": SECRET[::-1]}
    try:
        async with open_line(broker, tmp_path, gateway_port=0, analytics_port=0, **more) as line:
            admin = AdminClient(librdkafka_options(line.settings))
            worker = line.start_worker(session_topics_max=2)
            await line.wait_for_log(worker, "worker_ready", DEADLINE_S)
            async with running_gateway(line.settings) as port, WireClient.connected(port) as client:
                with no_new_sessions(admin):
                    await client.send(Prompt(session="s1", prompt_id="p1", input="not now"))
                    refused = await client.until("error")
                    receipt = await line.producer.submit("not now", user="alice", session="s2", prompt_id="p1")
                    letters = await until_dead_letters(line, 2)
                    (record,) = await line.until_records(1, receipt, deadline_s=DEADLINE_S)
                await client.send(Prompt(session="s1", prompt_id="p2", input="now"))
                await client.until("end")
                again = await line.producer.submit("and now", user="alice", session="s2", prompt_id="p2")
                answered = await line.ended(again, DEADLINE_S)
                await client.send(Prompt(session="s3", prompt_id="p1", input="one too many"))
                full = await client.until("error")
                await client.send(Prompt(session="s1", prompt_id="p3", input="once more"))
                ended = await client.until("end")

            assert (refused.code, refused.temporary, refused.prompt_id) == ("session_refused", False, "p1")
            letter = next(each for each in letters if each.session == "s2")
            assert {each.session for each in letters} == {"s1", "s2"}
            assert "TOPIC_AUTHORIZATION_FAILED" in letter.message
            assert "docs/deployment.md" in letter.message
            assert (letter.reason, letter.session, letter.prompt_id) == ("session_refused", "s2", "p1")
            assert record.outcome is not None
            assert (record.outcome.reason, record.outcome.error_code) == ("error", "session_refused")
            assert answered.ended is not None
            assert answered.ended.reason == "complete"
            assert (full.code, full.temporary, full.session, full.prompt_id) == ("unavailable", True, "s3", "p1")
            assert full.retry_after_s
            assert (ended.session, ended.reason) == ("s1", "complete")
            assert "session_topics_nearly_full" in line.log_of(worker)
            assert len(await line.dead_letters()) == 2

        brokers_default = load_settings({}, kafka=broker.bootstrap_servers)
        with pytest.raises(TopicsUnavailable, match="2 time"):
            await ensure_topics(brokers_default, [TopicSpec("by-default", 1)])
    finally:
        await broker.stop()
