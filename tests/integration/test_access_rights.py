"""Row S10: brokers as the compose file sets them up, and processes that have the rights of their role and no others.

The broker is the embedded one with the compose file's own settings and the certificates that `certificates.sh` makes;
what differs is that it is alone, on loopback, and has one more listener, on which it is asked whether it is ready.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import TopicAuthorizationFailedError
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation

from infra.embedded.ports import find_free_port
from infra.kafka.access_setup import OPERATIONS, AccessNotMade, line_rights, make_access
from infra.kafka.connection import aiokafka_options, librdkafka_options, new_admin
from infra.kafka.decisions.access_rights import Role
from infra.kafka.log_client import LogClient, LogUnavailable
from infra.kafka.topic_admin import ensure_topics
from infra.settings import Settings, load_settings
from processors.records_consumer import RecordsConsumer
from producers.errors import AccessDenied
from producers.sdk import Producer
from schemas.identifiers import SessionId, UserId, session_key_of
from tests.integration.broker_fixture import new_broker
from tests.integration.gateway_line import SECRET, WireClient, http, running_gateway
from tests.integration.secure_broker import needs_openssl
from tests.integration.worker_line import open_line

__all__: list[str] = []

DEPLOY: Final = Path(__file__).parents[2] / "infra" / "deploy"
LISTENERS: Final = ("CLIENT", "CONTROLLER", "BROKERS")
ALONE: Final = {
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
}
PASSWORD: Final = "secret-of-a-test-123"
PREFIX: Final = "team.a"
GROUP: Final = "team.a-workers"
ADMIN_S: Final = 20.0
READY_S: Final = 60.0

pytestmark = needs_openssl


def composed_properties() -> dict[str, str]:
    """The brokers' settings as the image makes them of the compose file's variables."""
    compose = (DEPLOY / "compose.yaml").read_text()
    section = compose.partition("&kafka-environment\n")[2].partition("\nx-")[0]
    lines = re.findall(r"^  KAFKA_([A-Z_0-9]+): (.*)$", section, re.MULTILINE)
    signs = {"___": "-", "__": "_", "_": "."}
    return {
        re.sub("_{1,3}", lambda found: signs[found[0]], name).lower(): value.strip('"')
        for name, value in lines
        if name != "HEAP_OPTS"
    }


class ClosedBroker:
    """Where it listens, and what it takes to come in."""

    def __init__(self, folder: Path) -> None:
        script = (DEPLOY / "certificates.sh").read_text().replace('"DNS:$broker"', '"DNS:$broker,IP:127.0.0.1"')
        (folder / "certificates.sh").write_text(script)
        subprocess.run(["sh", str(folder / "certificates.sh")], check=True, capture_output=True, timeout=60)
        self.folder = folder
        self.tls = folder / "tls-inside"
        self.ports = {name: find_free_port() for name in LISTENERS}
        self.kafka = f"127.0.0.1:{self.ports['CLIENT']}"

    def properties(self, ready_port: int) -> dict[str, str]:
        """Those of the compose file, for one broker on loopback."""
        given = composed_properties()
        places = {name: f"{name}://127.0.0.1:{port}" for name, port in self.ports.items()}
        ready = f"READY://127.0.0.1:{ready_port}"
        protocols = given["listener.security.protocol.map"]
        return (
            given
            | ALONE
            | {
                "listeners": ",".join((*places.values(), ready)),
                "advertised.listeners": ",".join((places["CLIENT"], places["BROKERS"], ready)),
                "listener.security.protocol.map": f"{protocols},READY:PLAINTEXT",
                "controller.quorum.voters": f"1@127.0.0.1:{self.ports['CONTROLLER']}",
                "ssl.keystore.location": str(self.tls / "kafka-1.pem"),
                "ssl.truststore.location": str(self.tls / "ca.pem"),
            }
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Any]:
        """The broker."""
        port = find_free_port()
        broker = new_broker(self.folder / "broker", port=port, extra_properties=self.properties(port))
        await broker.start()
        try:
            yield broker
        finally:
            await broker.stop()

    def administrator(self) -> dict[str, Any]:
        """As the compose file's service `access` comes: with a certificate, where the brokers talk to each other."""
        certificate = str(self.tls / "administrator.pem")
        return {
            "kafka": f"127.0.0.1:{self.ports['BROKERS']}",
            "kafka_security_protocol": "SSL",
            "kafka_ssl_cafile": str(self.tls / "ca.pem"),
            "kafka_ssl_certfile": certificate,
            "kafka_ssl_keyfile": certificate,
        }

    def access(self, role: str, password: str | None = None) -> dict[str, str]:
        """What a process of the role is set to."""
        return {
            "kafka": self.kafka,
            "kafka_security_protocol": "SASL_SSL",
            "kafka_sasl_mechanism": "SCRAM-SHA-512",
            "kafka_ssl_cafile": str(self.tls / "ca.pem"),
            "kafka_ssl_certfile": "",
            "kafka_ssl_keyfile": "",
            "kafka_sasl_username": role,
            "kafka_sasl_password": password or f"{role}-{PASSWORD}",
            "topic_prefix": PREFIX,
            "worker_group": GROUP,
        }

    def settings(self, role: str, password: str | None = None) -> Settings:
        """The same, for a client in this process."""
        return load_settings({}, home=self.folder, **self.access(role, password))


async def test_S10_line_whose_processes_may_do_what_they_need_and_nothing_else(tmp_path: Path) -> None:
    """Each does its work; a gateway can't answer for a worker, nor a worker read as analytics does."""
    closed = ClosedBroker(tmp_path)
    async with closed.running() as broker:
        administrator = load_settings(
            {}, home=tmp_path, topic_prefix=PREFIX, worker_group=GROUP, **closed.administrator()
        )
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
