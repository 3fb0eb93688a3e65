"""Brokers that ask who comes: a listener with TLS, SASL or both beside the plain one, and the certificates for it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.embedded.broker import EmbeddedBroker
from infra.ports import find_free_port
from tests.integration.broker_fixture import new_broker

__all__ = ["Authority", "SecureBroker", "needs_openssl", "secure_broker"]

OPENSSL = shutil.which("openssl")
needs_openssl = pytest.mark.skipif(OPENSSL is None, reason="openssl, which makes the certificates, is not installed")


@dataclass(frozen=True)
class SecureBroker:
    """A running broker and its further listeners."""

    broker: EmbeddedBroker
    ports: Mapping[str, int]

    def kafka(self, listener: str) -> str:
        """The setting that leads to a listener."""
        return f"127.0.0.1:{self.ports[listener]}"


class Authority:
    """An authority of a test's own, and what it signs."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.certificate, self.key = folder / "ca.pem", folder / "ca.key"
        openssl(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=authority of a test"),
            *("-addext", "keyUsage=critical,keyCertSign", "-keyout", str(self.key), "-out", str(self.certificate)),
        )

    def sign(self, name: str, alternative: str = "IP:127.0.0.1") -> tuple[Path, Path]:
        """Certificate and key of `name`, good for a server at `alternative` and for a client."""
        certificate, key, request = (self.folder / f"{name}.{kind}" for kind in ("pem", "key", "csr"))
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(
            f"subjectAltName={alternative}\nauthorityKeyIdentifier=keyid\nbasicConstraints=CA:FALSE\n"
            "extendedKeyUsage=serverAuth,clientAuth\n"
        )
        openssl(
            *("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(request))
        )
        openssl(
            *("x509", "-req", "-in", str(request), "-CA", str(self.certificate), "-CAkey", str(self.key), "-days", "2"),
            *("-CAcreateserial", "-extfile", str(extensions), "-out", str(certificate)),
        )
        return certificate, key

    def stores(self) -> dict[str, str]:
        """The broker's properties for TLS: its key and certificate, and this authority as the one it trusts."""
        certificate, key = self.sign("broker")
        store = self.folder / "broker-store.pem"
        store.write_text(key.read_text() + certificate.read_text())
        return {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(store),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.certificate),
        }


@asynccontextmanager
async def secure_broker(
    folder: Path, listeners: Mapping[str, str], properties: Mapping[str, str], java_options: Sequence[str] = ()
) -> AsyncIterator[SecureBroker]:
    """A broker with these listeners (name → protocol) beside the plain one."""
    plain, controller = find_free_port(), find_free_port()
    ports = {name: find_free_port() for name in listeners}
    places = ",".join(f"{name}://127.0.0.1:{port}" for name, port in {"CLIENT": plain, **ports}.items())
    kinds = ",".join(f"{name}:{protocol}" for name, protocol in listeners.items())
    broker = new_broker(
        folder,
        port=plain,
        extra_properties={
            "listeners": f"{places},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": places,
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listener.security.protocol.map": f"CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT,{kinds}",
            **properties,
        },
        java_options=java_options,
    )
    await broker.start()
    try:
        yield SecureBroker(broker, ports)
    finally:
        await broker.stop()


def openssl(*arguments: str) -> None:
    subprocess.run([str(OPENSSL), *arguments], check=True, capture_output=True)
