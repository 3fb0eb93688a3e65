"""A broker as the compose file sets its brokers up, and what it takes to come in.

The broker is the embedded one with the compose file's own settings and the certificates that `certificates.sh` makes;
what differs is that it is alone, on loopback, and has one more listener, on which it is asked whether it is ready.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from infra.embedded.broker import NO_PROPERTIES, EmbeddedBroker
from infra.ports import find_free_port
from infra.settings import Settings, load_settings
from tests.integration.broker_fixture import new_broker

__all__ = ["GROUP", "PASSWORD", "PREFIX", "ClosedBroker"]

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

    def __init__(self, folder: Path, more: Mapping[str, str] = NO_PROPERTIES) -> None:
        script = (DEPLOY / "certificates.sh").read_text().replace('"DNS:$broker"', '"DNS:$broker,IP:127.0.0.1"')
        (folder / "certificates.sh").write_text(script)
        subprocess.run(["sh", str(folder / "certificates.sh")], check=True, capture_output=True, timeout=60)
        self.folder = folder
        self.tls = folder / "tls-inside"
        self.more = more
        """Further listeners of a test's own: name → protocol."""
        self.ports = {name: find_free_port() for name in (*LISTENERS, *more)}

    def reached(self, listener: str) -> str:
        """The setting that leads to a listener."""
        return f"127.0.0.1:{self.ports[listener]}"

    def properties(self, ready_port: int) -> dict[str, str]:
        """Those of the compose file, for one broker on loopback."""
        given = composed_properties()
        places = {name: f"{name}://{self.reached(name)}" for name in self.ports} | {
            "READY": f"READY://127.0.0.1:{ready_port}"
        }
        kinds = "".join(f",{name}:{protocol}" for name, protocol in {**self.more, "READY": "PLAINTEXT"}.items())
        here = {
            "listeners": ",".join(places.values()),
            "advertised.listeners": ",".join(place for name, place in places.items() if name != "CONTROLLER"),
            "listener.security.protocol.map": given["listener.security.protocol.map"] + kinds,
            "controller.quorum.voters": f"1@{self.reached('CONTROLLER')}",
            "ssl.keystore.location": str(self.tls / "kafka-1.pem"),
            "ssl.truststore.location": str(self.tls / "ca.pem"),
        }
        return given | ALONE | here

    @asynccontextmanager
    async def running(
        self, properties: Mapping[str, str] = NO_PROPERTIES, super_users: str = ""
    ) -> AsyncIterator[EmbeddedBroker]:
        """The broker; with properties of further listeners and super users of their tests, as Kafka writes them."""
        port = find_free_port()
        given = self.properties(port)
        given |= {"super.users": f"{given['super.users']}{super_users}", **properties}
        broker = new_broker(self.folder / "broker", port=port, extra_properties=given)
        await broker.start()
        try:
            yield broker
        finally:
            await broker.stop()

    def administrator(self) -> dict[str, Any]:
        """As the compose file's service `access` comes: with a certificate, where the brokers talk to each other."""
        certificate = str(self.tls / "administrator.pem")
        return {
            "kafka": self.reached("BROKERS"),
            "kafka_security_protocol": "SSL",
            "kafka_ssl_cafile": str(self.tls / "ca.pem"),
            "kafka_ssl_certfile": certificate,
            "kafka_ssl_keyfile": certificate,
        }

    def access(self, role: str, password: str | None = None) -> dict[str, str]:
        """What a process of the role is set to."""
        return {
            "kafka": self.reached("CLIENT"),
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
