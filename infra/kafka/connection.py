"""How to reach Kafka, as each client library wants to hear it. TLS and SASL included."""

from __future__ import annotations

import functools
import ssl
from collections.abc import Mapping
from typing import Any, Final

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError
from confluent_kafka.admin import AdminClient

from infra.kafka.aws_tokens import AwsSigner, region_of
from infra.kafka.client_credentials import ClientCredentials
from infra.kafka.token_source import BrokerTokenUnavailable, TokenSource
from infra.settings import Settings

__all__ = [
    "TOKENS_OPTION",
    "LibrdkafkaTokens",
    "aiokafka_options",
    "librdkafka_options",
    "new_admin",
    "require_token",
    "token_source",
]

BEARER: Final = "OAUTHBEARER"
BEARER_MECHANISMS: Final = (BEARER, "AWS_MSK_IAM")
TOKENS_OPTION: Final = "oauth_cb"
"""Under which confluent-kafka's clients are given what hands them tokens."""
SOURCES_MAX: Final = 8
CRITICAL: Final = 2
"""An admin client's connection faults reach us as exceptions; librdkafka would print them as well."""


def aiokafka_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments of aiokafka's clients: servers, protocol, TLS context and SASL credentials."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap_servers,
        "security_protocol": settings.kafka_security_protocol,
    }
    if settings.kafka_security_protocol.endswith("SSL"):
        options["ssl_context"] = tls_context(settings)
    source = token_source(settings)
    if source is not None:
        tokens = AiokafkaTokens(source, dict(settings.kafka_oauth_extensions))
        options |= {"sasl_mechanism": BEARER, "sasl_oauth_token_provider": tokens}
    elif settings.kafka_security_protocol.startswith("SASL"):
        options |= {
            "sasl_mechanism": settings.kafka_sasl_mechanism,
            "sasl_plain_username": settings.kafka_sasl_username,
            "sasl_plain_password": settings.kafka_sasl_password.get_secret_value(),
        }
    return options


def librdkafka_options(settings: Settings) -> dict[str, Any]:
    """Configuration of confluent-kafka's clients: servers, protocol, TLS files and SASL credentials."""
    options: dict[str, Any] = {
        "bootstrap.servers": settings.bootstrap_servers,
        "security.protocol": settings.kafka_security_protocol,
        "allow.auto.create.topics": False,
        "client.id": settings.topic_names.prefix,
    }
    if settings.kafka_security_protocol.endswith("SSL"):
        files = {
            "ssl.ca.location": settings.kafka_ssl_cafile,
            "ssl.certificate.location": settings.kafka_ssl_certfile,
            "ssl.key.location": settings.kafka_ssl_keyfile,
        }
        options |= {name: path for name, path in files.items() if path}
    source = token_source(settings)
    if source is not None:
        tokens = LibrdkafkaTokens(source, dict(settings.kafka_oauth_extensions))
        options |= {"sasl.mechanism": BEARER, TOKENS_OPTION: tokens}
    elif settings.kafka_security_protocol.startswith("SASL"):
        options |= {
            "sasl.mechanism": settings.kafka_sasl_mechanism,
            "sasl.username": settings.kafka_sasl_username,
            "sasl.password": settings.kafka_sasl_password.get_secret_value(),
        }
    return options


def new_admin(options: Mapping[str, Any]) -> AdminClient:
    """An admin client with `librdkafka_options`. Blocks until its access token is there, where it needs one.

    Raises BrokerTokenUnavailable: without a token the client itself would only say, after 10 s, that it has none.
    """
    tokens = options.get(TOKENS_OPTION)
    if isinstance(tokens, LibrdkafkaTokens):
        tokens.source.token_blocking()
    return AdminClient({**options, "log_level": CRITICAL})


def token_source(settings: Settings) -> TokenSource | None:
    """Where the access tokens come from, one source for all clients of this process; None: the mechanism has none."""
    mechanism = settings.kafka_sasl_mechanism
    if mechanism not in BEARER_MECHANISMS or not settings.kafka_security_protocol.startswith("SASL"):
        return None
    if mechanism == BEARER:
        return source_of(
            ClientCredentials(
                url=settings.kafka_oauth_url,
                client_id=settings.kafka_oauth_client_id,
                client_secret=settings.kafka_oauth_client_secret,
                scope=settings.kafka_oauth_scope,
                audience=settings.kafka_oauth_audience,
            )
        )
    return source_of(AwsSigner(region_of(settings.kafka_aws_region)))


async def require_token(settings: Settings) -> None:
    """Wait until there is an access token, where one is needed. Raises BrokerTokenUnavailable."""
    source = token_source(settings)
    if source is not None:
        await source.token()


@functools.lru_cache(maxsize=SOURCES_MAX)
def source_of(issuer: ClientCredentials | AwsSigner) -> TokenSource:
    """Clients are made in many places from the same settings; what they share is found by these."""
    return TokenSource(issuer.fetch)


class AiokafkaTokens(AbstractTokenProvider):  # type: ignore[misc]  # aiokafka ships no types
    """Asked once for each connection."""

    def __init__(self, source: TokenSource, extensions: dict[str, str]) -> None:
        self.source = source
        self._granted = extensions

    async def token(self) -> str:
        """The token. Raises KafkaConnectionError, which aiokafka's clients take for a broker that is away."""
        try:
            return (await self.source.token()).value
        except BrokerTokenUnavailable as error:
            raise KafkaConnectionError(str(error)) from error

    def extensions(self) -> dict[str, str]:
        """What goes along with the token."""
        return self._granted


class LibrdkafkaTokens:
    """Asked on librdkafka's own thread, at four fifths of a token's life and again 10 s after a failure."""

    def __init__(self, source: TokenSource, extensions: dict[str, str]) -> None:
        self.source = source
        self.extensions = extensions

    def __call__(self, _: str) -> tuple[str, float, str, dict[str, str]]:
        """Token, the end of its life, principal (the broker reads it from the token), extensions."""
        token = self.source.renewed_blocking()
        return token.value, token.expires_s, "", self.extensions


def tls_context(settings: Settings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=settings.kafka_ssl_cafile or None)
    if settings.kafka_ssl_certfile:
        context.load_cert_chain(settings.kafka_ssl_certfile, settings.kafka_ssl_keyfile or None)
    return context
