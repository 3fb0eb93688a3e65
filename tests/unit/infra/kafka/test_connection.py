"""One set of settings, as two client libraries want to hear it."""

from __future__ import annotations

import ssl

from infra.kafka.connection import aiokafka_options, librdkafka_options
from infra.settings import load_settings

__all__: list[str] = []


def test_plain() -> None:
    """Servers and protocol; nobody creates topics by accident."""
    settings = load_settings({}, kafka="a:1,b:2")

    assert aiokafka_options(settings) == {"bootstrap_servers": "a:1,b:2", "security_protocol": "PLAINTEXT"}
    assert librdkafka_options(settings) == {
        "bootstrap.servers": "a:1,b:2",
        "security.protocol": "PLAINTEXT",
        "allow.auto.create.topics": False,
        "client.id": "tokenwire",
    }


def test_tls_and_sasl() -> None:
    """Both get the credentials; certificates are checked."""
    settings = load_settings(
        {},
        kafka="a:1",
        kafka_security_protocol="SASL_SSL",
        kafka_sasl_mechanism="SCRAM-SHA-512",
        kafka_sasl_username="worker",
        kafka_sasl_password="a secret",
    )
    options = aiokafka_options(settings)
    context = options.pop("ssl_context")

    assert isinstance(context, ssl.SSLContext)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert (options["sasl_plain_username"], options["sasl_plain_password"]) == ("worker", "a secret")
    assert options["sasl_mechanism"] == "SCRAM-SHA-512"
    described = librdkafka_options(settings)
    assert (described["sasl.username"], described["sasl.password"]) == ("worker", "a secret")
    assert "ssl.ca.location" not in described


def test_files_of_certificates() -> None:
    """librdkafka is given their names."""
    settings = load_settings({}, kafka="a:1", kafka_security_protocol="SSL", kafka_ssl_cafile="ca.pem")

    assert librdkafka_options(settings)["ssl.ca.location"] == "ca.pem"
