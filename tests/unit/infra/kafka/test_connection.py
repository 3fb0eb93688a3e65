"""One set of settings, as two client libraries want to hear it."""

from __future__ import annotations

import ssl

import pytest

from infra.kafka.connection import aiokafka_options, librdkafka_options
from infra.settings import SettingsError, load_settings

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


def test_access_tokens() -> None:
    """Every client of a process is handed the tokens of one source; the secret goes to none of them."""
    access = {
        "kafka_security_protocol": "SASL_SSL",
        "kafka_sasl_mechanism": "OAUTHBEARER",
        "kafka_oauth_url": "https://login.example/token",
        "kafka_oauth_client_id": "line",
        "kafka_oauth_client_secret": "a secret",
        "kafka_oauth_extensions": "logicalCluster=lkc-1, identityPoolId=pool-2",
    }
    python, native = aiokafka_options(load_settings({}, **access)), librdkafka_options(load_settings({}, **access))
    provider, tokens = python["sasl_oauth_token_provider"], native["oauth_cb"]

    assert (python["sasl_mechanism"], native["sasl.mechanism"]) == ("OAUTHBEARER", "OAUTHBEARER")
    assert provider.source is tokens.source
    assert provider.extensions() == tokens.extensions == {"logicalCluster": "lkc-1", "identityPoolId": "pool-2"}
    assert not {"sasl_plain_password", "sasl.password"} & (python.keys() | native.keys())
    other = aiokafka_options(load_settings({}, **access | {"kafka_oauth_client_id": "another"}))
    assert other["sasl_oauth_token_provider"].source is not provider.source


def test_tokens_of_aws() -> None:
    """The broker is told OAUTHBEARER: our name for it is ours alone."""
    settings = load_settings(
        {}, kafka_security_protocol="SASL_SSL", kafka_sasl_mechanism="AWS_MSK_IAM", kafka_aws_region="eu-west-1"
    )

    assert aiokafka_options(settings)["sasl_mechanism"] == "OAUTHBEARER"
    assert librdkafka_options(settings)["sasl.mechanism"] == "OAUTHBEARER"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"kafka_oauth_url": "http://login.example/token"}, "KAFKA_OAUTH_URL"),
        ({"kafka_oauth_url": "https://user:word@login.example/token"}, "KAFKA_OAUTH_URL"),
        ({"kafka_oauth_extensions": "auth=x"}, "KAFKA_OAUTH_EXTENSIONS"),
        ({"kafka_oauth_extensions": "pool"}, "KAFKA_OAUTH_EXTENSIONS"),
        ({"kafka_sasl_mechanism": "OAUTHBEARER", "kafka_security_protocol": "SASL_SSL"}, "KAFKA_OAUTH_CLIENT_SECRET"),
        ({"kafka_sasl_mechanism": "AWS_MSK_IAM"}, "KAFKA_SECURITY_PROTOCOL"),
    ],
)
def test_settings_that_lead_nowhere(changes: dict[str, str], named: str) -> None:
    """They are refused at the start, by name."""
    with pytest.raises(SettingsError) as refused:
        load_settings({}, **changes)

    assert any(f"TOKENWIRE_{named}" in fault for fault in refused.value.faults)


def test_files_of_certificates() -> None:
    """librdkafka is given their names."""
    settings = load_settings({}, kafka="a:1", kafka_security_protocol="SSL", kafka_ssl_cafile="ca.pem")

    assert librdkafka_options(settings)["ssl.ca.location"] == "ca.pem"
