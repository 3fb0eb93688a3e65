"""Every client of the line over TLS and SASL, against brokers that ask for it.

SCRAM-SHA-512, over TLS and with the rights of each role, is in `test_access_rights.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from infra.embedded.broker import EmbeddedBroker
from infra.kafka.log_client import LogClient, LogUnavailable
from infra.settings import load_settings
from producers.errors import AccessDenied, ProducerError
from producers.sdk import Producer
from tests.integration.gateway_line import SECRET, WireClient, running_gateway
from tests.integration.secure_broker import Authority, SecureBroker, needs_openssl, secure_broker
from tests.integration.worker_line import answer_text, open_line

__all__: list[str] = []

PASSWORD = "alice-secret-123"  # of a broker that lives for one test
ADMIN_S = 20.0
READY_S = 60.0

pytestmark = [needs_openssl, pytest.mark.asyncio(loop_scope="module")]


LISTENERS = {"CLOSED": "SASL_SSL", "MUTUAL": "SSL", "SCRAM": "SASL_PLAINTEXT"}


@dataclass(frozen=True)
class Secured:
    """The module's broker and the authority that it trusts."""

    reached: SecureBroker
    authority: Authority


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def secured(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Secured]:
    """A broker that asks who comes: by password over TLS, by certificate, by SCRAM."""
    folder = tmp_path_factory.mktemp("secured")
    authority = Authority(folder / "ca")
    login, scram = "org.apache.kafka.common.security", "scram.ScramLoginModule required;"
    properties = authority.stores() | {
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256",
        "listener.name.closed.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.closed.plain.sasl.jaas.config": (
            f'{login}.plain.PlainLoginModule required user_alice="{PASSWORD}";'
        ),
        "listener.name.mutual.ssl.client.auth": "required",
        "listener.name.scram.sasl.enabled.mechanisms": "SCRAM-SHA-256",
        "listener.name.scram.scram-sha-256.sasl.jaas.config": f"{login}.{scram}",
    }
    async with secure_broker(folder / "broker", LISTENERS, properties) as reached:
        add_scram_user(reached.broker)
        yield Secured(reached, authority)


def add_scram_user(broker: EmbeddedBroker) -> None:
    """Alice, on the plain listener, as whoever runs the cluster does it."""
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    alice = UserScramCredentialUpsertion(
        "alice", ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4_096), PASSWORD.encode()
    )
    for answer in admin.alter_user_scram_credentials([alice]).values():
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
        "kafka": secured.reached.kafka("CLOSED"),
        "kafka_security_protocol": "SASL_SSL",
        "kafka_sasl_username": "alice",
        "kafka_sasl_password": PASSWORD,
        "kafka_ssl_cafile": str(secured.authority.certificate),
    }
    await answered(secured.reached.broker, tmp_path, access)

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
        "kafka": secured.reached.kafka("MUTUAL"),
        "kafka_security_protocol": "SSL",
        "kafka_ssl_cafile": str(secured.authority.certificate),
        "kafka_ssl_certfile": str(certificate),
        "kafka_ssl_keyfile": str(key),
    }
    await answered(secured.reached.broker, tmp_path, access)

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
        "kafka": secured.reached.kafka("SCRAM"),
        "kafka_security_protocol": "SASL_PLAINTEXT",
        "kafka_sasl_mechanism": "SCRAM-SHA-256",
        "kafka_sasl_username": "alice",
        "kafka_sasl_password": PASSWORD,
    }
    await answered(secured.reached.broker, tmp_path, access)

    wrong = load_settings({}, **access | {"kafka_sasl_password": "wrong"})
    with pytest.raises(AccessDenied):
        await Producer(wrong).start()
    with pytest.raises(LogUnavailable):
        await LogClient(wrong).start()
