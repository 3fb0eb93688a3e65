"""Every client of the line over TLS and SASL, against a broker that asks who comes and what he may do (row S10).

Its listeners with SCRAM-SHA-512 over TLS and with certificates, and the rights of each role, are the compose file's.

Covers: infra.kafka.access_setup.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from aiokafka.errors import TopicAuthorizationFailedError
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation, ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion

from infra.embedded.broker import EmbeddedBroker
from infra.kafka.access_setup import OPERATIONS, AccessNotMade, line_rights, make_access
from infra.kafka.connection import aiokafka_options, librdkafka_options, new_admin
from infra.kafka.decisions.access_rights import Role
from infra.kafka.log_client import LogClient, LogUnavailable
from infra.kafka.topic_admin import ensure_topics
from infra.settings import Settings, load_settings
from processors.analytics.records_consumer import RecordsConsumer
from producers.errors import AccessDenied, ProducerError
from producers.sdk import Producer
from schemas.identifiers import SessionId, UserId, session_key_of
from tests.integration.closed_broker import GROUP, PASSWORD, PREFIX, ClosedBroker
from tests.integration.gateway_line import SECRET, WireClient, http, running_gateway
from tests.integration.secure_broker import Authority, needs_openssl
from tests.integration.worker_line import answer_text, open_line

__all__: list[str] = []

ADMIN_S = 20.0
READY_S = 60.0

pytestmark = [needs_openssl, pytest.mark.asyncio(loop_scope="module")]


LISTENERS = {"CLOSED": "SASL_SSL", "MUTUAL": "SSL", "SCRAM": "SASL_PLAINTEXT"}
"""Beside those of the compose file, for users that may do anything."""
SUPER_USERS = ";User:alice;User:CN=worker"


@dataclass(frozen=True)
class Secured:
    """The module's broker, and the authority that its listeners CLOSED and MUTUAL trust."""

    closed: ClosedBroker
    broker: EmbeddedBroker
    authority: Authority


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def secured(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Secured]:
    """A broker that asks who comes: by password over TLS, by certificate, by SCRAM; and allows what rules allow."""
    folder = tmp_path_factory.mktemp("secured")
    authority = Authority(folder / "ca")
    login = "org.apache.kafka.common.security"
    stores = {
        f"listener.name.{name}.{key}": value
        for name in ("closed", "mutual")
        for key, value in authority.stores().items()
    }
    properties = stores | {
        "listener.name.closed.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.closed.plain.sasl.jaas.config": (
            f'{login}.plain.PlainLoginModule required user_alice="{PASSWORD}";'
        ),
        "listener.name.mutual.ssl.client.auth": "required",
        "listener.name.scram.sasl.enabled.mechanisms": "SCRAM-SHA-256",
        "listener.name.scram.scram-sha-256.sasl.jaas.config": f"{login}.scram.ScramLoginModule required;",
    }
    closed = ClosedBroker(folder, LISTENERS)
    async with closed.running(properties, SUPER_USERS) as broker:
        add_scram_user(load_settings({}, **closed.administrator()))
        yield Secured(closed, broker, authority)


def add_scram_user(administrator: Settings) -> None:
    """Alice, as whoever runs the cluster does it."""
    admin = new_admin(librdkafka_options(administrator))
    kind = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4_096)
    for answer in admin.alter_user_scram_credentials(
        [UserScramCredentialUpsertion("alice", kind, PASSWORD.encode())]
    ).values():
        answer.result(ADMIN_S)


async def answered(broker: EmbeddedBroker, folder: Path, access: dict[str, Any]) -> None:
    """One prompt through SDK, worker, gateway: everybody who has a Kafka client takes part."""
    by_sdk, by_gateway = f"sdk-{uuid4().hex}", f"gateway-{uuid4().hex}"
    more = {"gateway_port": 0, "auth_secret": SECRET, "cursor_secret": SECRET[::-1]}
    async with open_line(broker, folder, **access) as line:
        worker = line.start_worker()
        await line.wait_for_log(worker, "worker_ready", READY_S)
        receipt = await line.producer.submit("over a closed wire", user="alice", session=by_sdk)

        turn = await line.ended(receipt)

        assert turn.text == answer_text("over a closed wire")
        async with (
            running_gateway(load_settings(line.environment, **more)) as port,
            WireClient.connected(port) as client,
        ):
            ask = f'"session":"{by_gateway}","prompt_id":"q1","input":"over a closed wire"'
            await client.send_raw(f'{{"type":"prompt",{ask}}}')
            ended = await client.until("end")
        assert ended.reason == "complete"
        assert PASSWORD not in line.log_of(worker)


async def test_line_over_tls_and_sasl(secured: Secured, tmp_path: Path) -> None:
    """Topics, SDK, Faust, producer and readers work; a wrong password and an unknown authority are refused."""
    access = {
        "kafka": secured.closed.reached("CLOSED"),
        "kafka_security_protocol": "SASL_SSL",
        "kafka_sasl_username": "alice",
        "kafka_sasl_password": PASSWORD,
        "kafka_ssl_cafile": str(secured.authority.certificate),
    }
    await answered(secured.broker, tmp_path, access)

    with pytest.raises(AccessDenied) as refused:
        await Producer(load_settings({}, **access | {"kafka_sasl_password": "wrong"})).start()
    assert PASSWORD not in str(refused.value)
    stranger = LogClient(load_settings({}, **access | {"kafka_ssl_cafile": ""}))
    with pytest.raises(LogUnavailable):
        await stranger.start()


async def test_line_over_mutual_tls(secured: Secured, tmp_path: Path) -> None:
    """A broker that wants a certificate is shown one by every client; without one nobody gets in."""
    certificate, key = secured.authority.sign("worker")
    access = {
        "kafka": secured.closed.reached("MUTUAL"),
        "kafka_security_protocol": "SSL",
        "kafka_ssl_cafile": str(secured.authority.certificate),
        "kafka_ssl_certfile": str(certificate),
        "kafka_ssl_keyfile": str(key),
    }
    await answered(secured.broker, tmp_path, access)

    nobody = load_settings({}, **access | {"kafka_ssl_certfile": "", "kafka_ssl_keyfile": ""})
    with pytest.raises(LogUnavailable):
        await LogClient(nobody).start()
    with pytest.raises(
        ProducerError
    ):  # a broker that wants TLS 1.3 says so after the handshake: librdkafka hears "gone"
        await Producer(nobody).start()


async def test_line_over_scram(secured: Secured, tmp_path: Path) -> None:
    """The password never crosses the wire, and a wrong one is refused by both client libraries."""
    access = {
        "kafka": secured.closed.reached("SCRAM"),
        "kafka_security_protocol": "SASL_PLAINTEXT",
        "kafka_sasl_mechanism": "SCRAM-SHA-256",
        "kafka_sasl_username": "alice",
        "kafka_sasl_password": PASSWORD,
    }
    await answered(secured.broker, tmp_path, access)

    wrong = load_settings({}, **access | {"kafka_sasl_password": "wrong"})
    with pytest.raises(AccessDenied):
        await Producer(wrong).start()
    with pytest.raises(LogUnavailable):
        await LogClient(wrong).start()


async def test_S10_line_whose_processes_may_do_what_they_need_and_nothing_else(
    secured: Secured, tmp_path: Path
) -> None:
    """Each does its work; a gateway can't answer for a worker, nor a worker read as analytics does."""
    closed, broker = secured.closed, secured.broker
    administrator = load_settings({}, home=tmp_path, topic_prefix=PREFIX, worker_group=GROUP, **closed.administrator())
    users, passwords = {role: f"User:{role}" for role in Role}, {role: f"{role}-{PASSWORD}" for role in Role}
    for _ in range(2):  # again, it changes nothing
        assert not any((await asyncio.to_thread(make_access, administrator, users, passwords)).values())
    migrating = closed.settings(Role.MIGRATE)
    await ensure_topics(migrating, migrating.fixed_topics)
    async with open_line(broker, tmp_path, group=GROUP, topic_prefix=PREFIX, **closed.administrator()) as line:
        worker = line.start_worker(**closed.access(Role.WORKER))
        await line.wait_for_log(worker, "worker_ready", READY_S)
        await everybody_works(closed, line.environment)
        assert PASSWORD not in line.log_of(worker)

    log_of_session = session_log(migrating)
    topics = [*(spec.name for spec in migrating.fixed_topics), log_of_session, "tokenwire.prompts"]
    for role in Role:
        assert await asyncio.to_thread(allowed, closed.settings(role), topics) == expected(migrating, role, topics)
    await forbidden_acts(closed, log_of_session)


async def everybody_works(closed: ClosedBroker, environment: dict[str, str]) -> None:
    """A prompt through the gateway, one from upstream, a logout, a record for analytics."""
    more: dict[str, Any] = {"gateway_port": 0, "auth_secret": SECRET, "cursor_secret": SECRET[::-1]}
    async with (
        running_gateway(load_settings(environment, **closed.access(Role.GATEWAY), **more)) as port,
        WireClient.connected(port) as client,
    ):
        await client.send_raw('{"type":"prompt","session":"s1","prompt_id":"q1","input":"under rules"}')
        assert (await client.until("end")).reason == "complete"
        assert (await http(port, "/readyz"))[0] == 200
        await client.send_raw('{"type":"logout"}')
        assert (await client.closed())[0] == 4401
    async with Producer(closed.settings(Role.PRODUCER)) as producer:
        await producer.submit("from upstream", user="alice", session="s2")
    records = RecordsConsumer(closed.settings(Role.ANALYTICS))
    await records.start()
    async with asyncio.timeout(READY_S):
        assert (await records.consumer.getone()).value
    await records.stop()


async def forbidden_acts(closed: ClosedBroker, log_of_session: str) -> None:
    """The ones that the table is there for, tried."""
    gateway = AIOKafkaProducer(**aiokafka_options(closed.settings(Role.GATEWAY)))
    await gateway.start()
    with pytest.raises(TopicAuthorizationFailedError):
        await gateway.send_and_wait(log_of_session, b"an answer that no model gave")
    await gateway.stop()

    settings = closed.settings(Role.WORKER)
    theirs = ConsumerGroupTopicPartitions(settings.topic_names.member("analytics"))
    worker = new_admin(librdkafka_options(settings))
    asked = worker.list_consumer_group_offsets([theirs])[theirs.group_id]
    with pytest.raises(KafkaException, match="GROUP_AUTHORIZATION_FAILED"):
        await asyncio.to_thread(asked.result, ADMIN_S)

    with pytest.raises(AccessNotMade, match="super user"):
        await asyncio.to_thread(make_access, settings, {Role.WORKER: "User:worker"}, {})
    for stranger in (closed.settings(Role.WORKER, "wrong"), closed.settings("nobody")):
        with pytest.raises(LogUnavailable):
            await LogClient(stranger).start()
        with pytest.raises(AccessDenied):
            await Producer(stranger).start()


def session_log(settings: Settings) -> str:
    key = session_key_of(UserId("alice"), SessionId("s1"))
    return settings.topic_names.session_place(key, settings.topic_layout).topic


def allowed(settings: Settings, topics: list[str]) -> dict[str, set[AclOperation]]:
    """What the broker says that a user may do with these topics."""
    found: dict[str, set[AclOperation]] = {}
    admin = new_admin(librdkafka_options(settings))
    asked = admin.describe_topics(TopicCollection(topics), include_authorized_operations=True)
    for topic, answer in asked.items():
        try:
            found[topic] = set(answer.result(ADMIN_S).authorized_operations)
        except KafkaException:
            found[topic] = set()
    return found


def expected(settings: Settings, role: Role, topics: list[str]) -> dict[str, set[AclOperation]]:
    """What the table says: what may be read, written or deleted may be described."""
    found: dict[str, set[AclOperation]] = {topic: set() for topic in topics}
    for right in line_rights(settings, role):
        for topic in topics if right.resource == "topic" else ():
            if topic.startswith(right.name) if right.prefixed else topic == right.name:
                found[topic] |= {OPERATIONS[operation] for operation in right.operations}
                found[topic] |= {AclOperation.DESCRIBE} if {"Read", "Write", "Delete"} & {*right.operations} else set()
    return found
