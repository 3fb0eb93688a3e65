"""Every client of the line over TLS and SASL, against a broker that asks for both (row S10, as far as it goes)."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from infra.embedded.broker import EmbeddedBroker
from infra.embedded.ports import find_free_port
from infra.kafka.log_client import LogClient, LogUnavailable
from infra.settings import load_settings
from producers.errors import AccessDenied
from producers.sdk import Producer
from tests.integration.broker_fixture import new_broker
from tests.integration.worker_line import answer_text, open_line

PASSWORD = "alice-secret-123"  # of a broker that lives for one test
OPENSSL = shutil.which("openssl")

pytestmark = pytest.mark.skipif(OPENSSL is None, reason="openssl, which makes the test's certificate, is not installed")


def make_certificate(folder: Path) -> Path:
    """A certificate of 127.0.0.1 that signs itself, and a store for the broker that holds it with its key."""
    key, certificate, store = folder / "key.pem", folder / "cert.pem", folder / "store.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(
        [str(OPENSSL), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *files, *subject],
        check=True,
        capture_output=True,
    )
    store.write_text(key.read_text() + certificate.read_text())
    return certificate


@pytest_asyncio.fixture
async def secure(tmp_path: Path) -> AsyncIterator[tuple[EmbeddedBroker, int, Path]]:
    """A broker with a listener that speaks SASL over TLS only: the broker, that listener's port, its certificate."""
    certificate = make_certificate(tmp_path)
    plain, controller, port = find_free_port(), find_free_port(), find_free_port()
    listeners = f"CLIENT://127.0.0.1:{plain},SECURE://127.0.0.1:{port}"
    login = "org.apache.kafka.common.security.plain.PlainLoginModule"
    broker = new_broker(
        tmp_path / "broker",
        port=plain,
        extra_properties={
            "listeners": f"{listeners},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": listeners,
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(tmp_path / "store.pem"),
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.secure.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.secure.plain.sasl.jaas.config": f'{login} required user_alice="{PASSWORD}";',
        },
    )
    await broker.start()
    try:
        yield broker, port, certificate
    finally:
        await broker.stop()


async def test_line_over_tls_and_sasl(secure: tuple[EmbeddedBroker, int, Path], tmp_path: Path) -> None:
    """Topics, SDK, Faust, producer and readers work; a wrong password and an unknown authority are refused."""
    broker, port, certificate = secure
    access: dict[str, Any] = {
        "kafka": f"127.0.0.1:{port}",
        "kafka_security_protocol": "SASL_SSL",
        "kafka_sasl_username": "alice",
        "kafka_sasl_password": PASSWORD,
        "kafka_ssl_cafile": str(certificate),
    }
    async with open_line(broker, tmp_path, **access) as line:
        worker = line.start_worker()
        receipt = await line.producer.submit("over a closed wire", user="alice", session="s1")

        turn = await line.ended(receipt)

        assert turn.text == answer_text("over a closed wire")
        assert PASSWORD not in line.log_of(worker)
        with pytest.raises(AccessDenied) as refused:
            await Producer(load_settings({}, **access | {"kafka_sasl_password": "wrong"})).start()
        assert PASSWORD not in str(refused.value)
        stranger = LogClient(load_settings({}, **access | {"kafka_ssl_cafile": ""}))
        with pytest.raises(LogUnavailable):
            await stranger.start()
