"""What an operator can set: each field with its bounds, its default and its meaning, and what is checked of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from infra.network_environment import is_loopback
from schemas.topics import PREFIX, PREFIX_CHARS_MAX, PREFIX_PATTERN

__all__ = ["ENVIRONMENT_PREFIX", "LINE_WAIT_S", "SettingFields", "SettingsError"]

ENVIRONMENT_PREFIX = "TOKENWIRE_"
LINE_WAIT_S = 86_400.0
EXTENSION_NAME: Final = re.compile(r"[A-Za-z]{1,64}")
EXTENSION_VALUE: Final = re.compile(r"[\x21-\x7e]{1,1024}")

Port = Annotated[int, Field(ge=0, le=65_535)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class SettingsError(Exception):
    """One or more settings are wrong. `faults` holds a sentence for each, naming the variable."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class SettingFields(BaseSettings):
    """What may be set. The variable of a field is TOKENWIRE_ and its name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX, frozen=True, extra="ignore", use_attribute_docstrings=True
    )

    home: Path = Path(".tokenwire")
    """Folder for everything kept: broker data and jars, database, keys, logs."""

    # ---- Kafka
    kafka: str = ""
    """Bootstrap servers of an existing cluster, host:port,host:port. Set = no embedded broker."""
    kafka_port: Port = 9092
    """Port of the embedded broker on 127.0.0.1; 0 = a free one, printed. Of three brokers, the first one's."""
    kafka_brokers: Annotated[int, Field(ge=1, le=3)] = 1
    """Embedded brokers of `tokenwire up`, 1 or 3; with 3, every topic has three replicas and one broker may be gone."""
    kafka_heap_mb: Annotated[int, Field(ge=128, le=65_536)] = 768
    """Java heap of each embedded broker in MiB; 1,536 for 10,000 sessions in the dedicated layout."""
    kafka_replication: Annotated[int, Field(ge=0, le=7)] = 0
    """Replicas of every topic; from 3 on, min.insync.replicas is 2. 0 = of an existing cluster, what its brokers give a
    topic by default; of the embedded broker, 1."""
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How to talk to the brokers."""
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "AWS_MSK_IAM"] = "PLAIN"
    """SASL mechanism, with a SASL_ protocol. AWS_MSK_IAM is OAUTHBEARER with tokens by AWS's signer, which the extra
    `aws` installs."""
    kafka_sasl_username: str = ""
    """SASL user name."""
    kafka_sasl_password: SecretStr = SecretStr("")
    """SASL password."""
    kafka_oauth_url: str = ""
    """Token endpoint for OAUTHBEARER (client credentials), https, or http on this machine."""
    kafka_oauth_client_id: str = ""
    """Client id at the token endpoint."""
    kafka_oauth_client_secret: SecretStr = SecretStr("")
    """Client secret at the token endpoint."""
    kafka_oauth_scope: str = ""
    """Scopes to ask the token endpoint for, separated by spaces; empty = none."""
    kafka_oauth_audience: str = ""
    """Audience to ask the token endpoint for, where it wants one."""
    kafka_oauth_extensions: Annotated[tuple[tuple[str, str], ...], NoDecode] = ()
    """Comma-separated name=value pairs that go to the broker with each token, such as logicalCluster=lkc-1."""
    kafka_aws_region: str = ""
    """Region of the cluster, with AWS_MSK_IAM; empty = AWS_REGION, AWS_DEFAULT_REGION."""
    kafka_ssl_cafile: str = ""
    """File of CA certificates that the brokers' certificates are checked against; empty = the system's."""
    kafka_ssl_certfile: str = ""
    """Client certificate (PEM), where the brokers ask for one."""
    kafka_ssl_keyfile: str = ""
    """Private key (PEM) of the client certificate."""
    topic_prefix: str = PREFIX
    """What the name of every topic, consumer group and client begins with, the same for all processes of a line; on a
    cluster that is shared with others, a name of your own, such as `team-a.chat`."""
    topic_layout: Literal["dedicated", "shared"] = "dedicated"
    """A topic per session, or sessions as keys of a fixed set of partitions."""
    session_topics_max: Annotated[int, Field(ge=0)] = 0
    """Topics of sessions that the cluster may hold; a prompt that would begin one more session is refused, those there
    are go on. The same for all processes of a line. 0 = 20,000; of embedded brokers what their heap carries, if that is
    less: 5,000 for 768 MiB."""
    session_retention_h: Annotated[int, Field(ge=1, le=24 * 365)] = 24
    """Hours that a session's log is kept."""

    # ---- Publishing prompts (gateway, SDK, command line)
    publish_queue_max: Annotated[int, Field(ge=1)] = 10_000
    """Prompts that may wait for the broker's acknowledgement; one more is refused at once."""
    publish_queue_kib_max: Annotated[int, Field(ge=64, le=2_097_151)] = 32_768
    """KiB of those prompts."""
    publish_s: Annotated[float, Field(ge=0.5, le=300)] = 10.0
    """Longest time from publishing a prompt to its acknowledgement; then its outcome is unknown."""

    # ---- Gateway
    gateway_host: str = "127.0.0.1"
    """Address the gateway listens on."""
    gateway_port: Port = 8080
    """Port of websocket, page, health and metrics; further gateways take the following ports."""
    gateway_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Comma-separated exact origins of pages that may connect; empty = the gateway's own on loopback."""
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Comma-separated names by which requests may ask for this process (`gateway`, `*.chat.example`), beside addresses,
    `localhost` and the hosts of gateway_origins; any other `Host` is answered 421."""
    auth_secret: SecretStr = SecretStr("")
    """Secret of HS256 access tokens (32 bytes or more); empty = a development key is generated and kept."""
    auth_jwks: Path | None = None
    """File of public keys (JWKS) that verify access tokens, RS256 or ES256; set = tokens by auth_secret are refused.
    Read again when it changes."""
    auth_leeway_s: Annotated[float, Field(ge=0, le=60)] = 60.0
    """Seconds by which the clocks of those who issue and those who verify access tokens may differ."""
    auth_token_days_max: Annotated[float, Field(gt=0, le=365)] = 30.0
    """Days after which an access token is refused whatever its `exp`; a logout is remembered for so long."""
    gateway_requires_origin: bool = False
    """Refuse websockets without an Origin header: only pages of the listed origins, no other programs."""
    auth_audience: str = "tokenwire"
    """The `aud` that access tokens must carry."""
    auth_issuer: str = "tokenwire"
    """The `iss` that access tokens must carry."""
    cursor_secret: SecretStr = SecretStr("")
    """Secret that signs resume cursors, the same on every gateway; empty = generated and kept."""
    cursor_secret_previous: SecretStr = SecretStr("")
    """Secret that signed resume cursors until it was replaced; cursors that it signed are still accepted."""
    connection_bytes_max: Annotated[int, Field(ge=16_384)] = 131_072
    """Bytes that one connection may owe its client; a slower one is served from the log at its own pace."""
    gateway_bytes_max: Annotated[int, Field(ge=1_048_576)] = 268_435_456
    """Bytes that the gateway may hold for all clients together; from four fifths of it on nobody new is let in."""
    gateway_sockets_max: Annotated[int, Field(ge=1, le=1_000_000)] = 12_000
    """Clients of one gateway; one more is told when to come back (1013)."""
    gateway_drain_s: Annotated[float, Field(ge=0, le=600)] = 5.0
    """Longest time, from SIGTERM on, over which a gateway sends its clients elsewhere, each at a slot of its own."""
    gateway_drain_clients_per_s: Annotated[float, Field(gt=0, le=1_000_000)] = 1_000.0
    """Clients a second that a leaving gateway sends elsewhere, if that takes less; what its siblings can take in."""
    gateway_reuse_port: bool = False
    """Share the port with other gateways (SO_REUSEPORT): the kernel spreads clients over them, and a successor can be
    ready before its predecessor leaves."""
    user_sockets_max: Annotated[int, Field(ge=1)] = 512
    """Connections of one user to one gateway."""
    user_new_sessions_per_h: Annotated[int, Field(ge=1)] = 2_000
    """Sessions that one user may begin in an hour through one gateway, where each has a topic of its own."""
    gateway_new_sessions_per_h: Annotated[int, Field(ge=1)] = 20_000
    """Sessions that all users may begin in an hour through one gateway, where each has a topic of its own."""
    frame_bytes_max: Annotated[int, Field(ge=1_024, le=16_777_216)] = 65_536
    """Largest websocket frame accepted from a client."""

    # ---- Provider
    provider_url: str = ""
    """Base URL of an OpenAI-compatible API, ending in /v1; empty = OpenAI with a key, else the simulated one."""
    provider_key: SecretStr = SecretStr("")
    """API key for provider_url; empty = OPENAI_API_KEY."""
    provider_port: Port = 8090
    """Port of the simulated provider on 127.0.0.1; 0 = a free one, printed."""
    model: str = ""
    """Model used where a prompt names none; empty = the own model of the server at provider_url, else OpenAI's
    gpt-4.1-mini."""
    models: Annotated[tuple[str, ...], NoDecode] = ()
    """Comma-separated models that prompts may name besides the default one."""
    config: Path | None = None
    """File of models and their targets; unset = `tokenwire.toml` in the current folder, where there is one."""
    context_tokens: Annotated[int, Field(ge=256)] = 128_000
    """Context window of the model; older history is cut to fit (and the cut recorded)."""
    answer_tokens_max: Annotated[int, Field(ge=1)] = 4_096
    """max_tokens of a prompt that names none."""
    connect_s: Seconds = 10.0
    """Deadline for a connection to the provider, TLS included."""
    first_token_s: Seconds | None = None
    """Deadline from the request to the first token; unset = 5 s where another target can take the call, else 120 s, and
    300 s with models that are known to reason first."""
    between_tokens_s: Seconds = 30.0
    """Longest silence between two tokens."""
    turn_s: Seconds = 900.0
    """Longest time an attempt may take in all."""

    # ---- Worker
    worker_group: str = ""
    """Consumer group of the workers (Faust's app id); empty = topic_prefix and `-worker`."""
    worker_instance: Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9._-]*$")] = ""
    """A name that this worker alone has and keeps over restarts: back within session_timeout_s, it finds its partitions
    as it left them. Empty = a restart hands them to others and back."""
    session_timeout_s: Annotated[float, Field(ge=1, le=300)] = 10.0
    """Silence after which the group gives a worker's partitions to others."""
    turns_running_max: Annotated[int, Field(ge=1)] = 4_096
    """Calls that one worker makes at once; the rest wait in line."""
    line_wait_s: Annotated[float, Field(ge=1, le=604_800)] = LINE_WAIT_S
    """Longest time that a prompt stands in line for a place at a model; a line of a batch is awaited as long. A day."""
    session_queue_max: Annotated[int, Field(ge=0)] = 32
    """Prompts that may wait in one session behind the running turn."""
    session_parallel_max: Annotated[int, Field(ge=1, le=64)] = 4
    """Prompts of one session that run at once where they ask for it (`on_busy: parallel`); more wait their turn."""
    leave_grace_s: Annotated[float, Field(ge=0, le=86_400)] = 30.0
    """Seconds without a device after which a turn with `on_leave: cancel` is ended."""
    reader_behind_bytes_max: Annotated[int, Field(ge=1_024, le=67_108_864)] = 65_536
    """Bytes that an answer with `pace: reader` may be ahead of its fastest reader before its provider is paused."""
    attempts_max: Annotated[int, Field(ge=1, le=20)] = 3
    """Crashes of a turn's workers after which it ends in `error` and a dead letter, if it ran alone at the last one."""
    worker_variables: Annotated[tuple[str, ...], NoDecode] = ()
    """Comma-separated names of further environment variables that `up` hands on to workers, such as those a scorer
    reads. The variables of models' keys need not be named."""
    scorer: str = ""
    """Function that chooses among answers with `compare: best`, `module:function`; empty = by length and format."""
    prompt_bytes_max: Annotated[int, Field(ge=1_024, le=917_504)] = 524_288
    """Largest prompt (input or messages) in UTF-8 bytes; half a MiB holds 80,000 tokens of English with room to spare.
    The same on gateways and workers."""
    answer_cache_bytes_max: Annotated[int, Field(ge=0)] = 33_554_432
    """Bytes of answers that a worker remembers for models with `cache_s`."""
    history_cache_bytes_max: Annotated[int, Field(ge=0)] = 67_108_864
    """Bytes of conversations that a worker remembers; the rest is read again from the log."""

    # ---- Analytics
    clickhouse: str = ""
    """DSN of an existing ClickHouse, such as https://user:password@host:8443/tokenwire. Set = no embedded engine."""
    clickhouse_reader: str = ""
    """DSN of an account of that ClickHouse which only reads, for gateways and `tokenwire query`; empty = clickhouse."""
    analytics_port: Port = 8123
    """Port of the read-only ClickHouse HTTP endpoint on 127.0.0.1 (embedded engine); 0 = a free one, printed."""
    analytics_query_s: Seconds = 30.0
    """Longest time that one query at the read-only endpoint may take."""

    # ---- Telemetry
    metrics_port: Port = 9464
    """Port of the worker's metrics; the analytics writer's is the next one."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """JSON lines, readable lines, or by whether the output is a terminal."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe events that are logged."""

    @field_validator("gateway_origins", "allowed_hosts", "models", "worker_variables", mode="before")
    @classmethod
    def split_commas(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("kafka_oauth_extensions", mode="before")
    @classmethod
    def split_pairs(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        parts = (part.partition("=") for part in value.split(",") if part.strip())
        pairs = tuple((name.strip(), content.strip()) for name, _, content in parts)
        for pair in pairs:
            if fault := extension_fault(*pair):
                raise ValueError(fault)
        return pairs

    @field_validator("kafka_oauth_url")
    @classmethod
    def check_token_endpoint(cls, value: str) -> str:
        secret_is_safe = value.startswith("https://") or (value.startswith("http://") and is_loopback(value))
        if value and (not secret_is_safe or "@" in value):
            raise ValueError("must begin with https:// (http:// on this machine alone) and hold no password")
        return value

    @model_validator(mode="after")
    def check_sasl(self) -> Self:
        """What a mechanism needs must be there, and a mechanism needs a protocol that has room for it."""
        bearer = self.kafka_sasl_mechanism in ("OAUTHBEARER", "AWS_MSK_IAM")
        faults = []
        if bearer and not self.kafka_security_protocol.startswith("SASL"):
            faults.append("TOKENWIRE_KAFKA_SECURITY_PROTOCOL: must be SASL_SSL with this mechanism")
        if self.kafka_sasl_mechanism == "OAUTHBEARER":
            needed = {
                "URL": self.kafka_oauth_url,
                "CLIENT_ID": self.kafka_oauth_client_id,
                "CLIENT_SECRET": self.kafka_oauth_client_secret.get_secret_value(),
            }
            absent = (name for name, value in needed.items() if not value)
            faults += [f"TOKENWIRE_KAFKA_OAUTH_{name}: must be set with OAUTHBEARER" for name in absent]
        if faults:
            raise SettingsError(faults)
        return self

    @field_validator("config", "auth_jwks", "first_token_s", mode="before")
    @classmethod
    def empty_is_unset(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("topic_prefix")
    @classmethod
    def check_topic_prefix(cls, value: str) -> str:
        if len(value) > PREFIX_CHARS_MAX or re.fullmatch(PREFIX_PATTERN, value) is None:
            raise ValueError(
                f"must be 1 to {PREFIX_CHARS_MAX} characters of a-z, A-Z, 0-9, '.', '_' and '-', the first and the "
                "last of them a letter or a digit"
            )
        return value

    @field_validator("provider_url")
    @classmethod
    def check_provider_url(cls, value: str) -> str:
        if value and not value.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https:// and end in /v1")
        return value.rstrip("/")

    @field_validator("kafka_brokers")
    @classmethod
    def check_broker_count(cls, value: int) -> int:
        if value == 2:  # one of two gone, nothing could be acknowledged by two
            raise ValueError("must be 1 or 3")
        return value

    @field_validator("auth_secret", "cursor_secret", "cursor_secret_previous")
    @classmethod
    def check_secret_length(cls, value: SecretStr) -> SecretStr:
        if 0 < len(value.get_secret_value().encode()) < 32:
            raise ValueError("must have at least 32 bytes, or be left out")
        return value


def extension_fault(name: str, value: str) -> str | None:
    """What is wrong with a SASL extension (RFC 7628); None: nothing."""
    if not EXTENSION_NAME.fullmatch(name) or name.lower() == "auth":
        return f"{name!r} is no name of a SASL extension: letters only, and not auth"
    if not EXTENSION_VALUE.fullmatch(value):
        return f"the value of {name} must be visible characters"
    return None
