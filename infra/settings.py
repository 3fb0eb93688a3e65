"""Everything an operator can change, read from the environment once and checked at once.

`load_settings()` reads `TOKENWIRE_*`; a fault never hides another: all are listed, each naming its variable.
Objects built from these settings receive the numbers they need; nothing imports settings as a global.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from pydantic import ValidationError

from infra.setting_fields import ENVIRONMENT_PREFIX, LINE_WAIT_S, SettingFields, SettingsError
from schemas.topics import TopicNames, TopicSpec

__all__ = [
    "ENVIRONMENT_PREFIX",
    "LINE_WAIT_S",
    "OWN_MODEL",
    "Settings",
    "SettingsError",
    "load_settings",
    "setting_variables",
    "unknown_variables",
]

SIMULATED_MODEL = "simulated"
DEFAULT_OPENAI_MODEL = "gpt-4.1-mini"
OPENAI_HOST = "api.openai.com"
TEST_PREFIX = "TOKENWIRE_TEST_"
NEAR = 0.85
"""Of two names that differ in a letter or two; all begin alike."""
SESSION_TOPICS_MAX = 20_000
"""Linux lets a process map 65,530 pieces of files; a broker maps two for each topic."""
HEAP_TOPICS_MAX = 5_000
HEAP_MB = 768
"""A broker with this heap was seen to carry so many topics of sessions; 13,200 killed it."""
HEARTBEATS_PER_SESSION = 3
HEARTBEAT_INTERVAL_S_MAX = 3.0
OWN_MODEL = "default"
"""How users name a server's own model, where the settings name none."""


class Settings(SettingFields):
    """The settings of every process, and what follows from them."""

    @property
    def bootstrap_servers(self) -> str:
        """Where clients find Kafka: the cluster's servers, else the embedded broker's."""
        return self.kafka or f"127.0.0.1:{self.kafka_port}"

    @property
    def topic_replication(self) -> int:
        """Replicas that are asked for with a new topic; -1 = what the brokers give by default."""
        return self.kafka_replication or (-1 if self.kafka else 1)

    @property
    def topic_names(self) -> TopicNames:
        """What this line's topics are called."""
        return TopicNames(self.topic_prefix)

    @property
    def fixed_topics(self) -> tuple[TopicSpec, ...]:
        """Every topic that must exist before a process starts."""
        return self.topic_names.fixed_topics(self.topic_layout, session_retention_h=self.session_retention_h)

    @property
    def worker_group_name(self) -> str:
        """The workers' consumer group."""
        return self.worker_group or self.topic_names.member("worker")

    @property
    def heartbeat_interval_s(self) -> float:
        """How often members of consumer groups report. A rebalance waits for the slowest, so 3 s is the most."""
        return min(HEARTBEAT_INTERVAL_S_MAX, self.session_timeout_s / HEARTBEATS_PER_SESSION)

    @property
    def simulated(self) -> bool:
        """Whether answers come from the simulated provider: neither a URL nor a key was given."""
        return not self.provider_url and not self.provider_key.get_secret_value()

    @property
    def provider_base_url(self) -> str | None:
        """Base URL for the openai client; None = the client's own default."""
        if self.provider_url:
            return self.provider_url
        return f"http://127.0.0.1:{self.provider_port}/v1" if self.simulated else None

    @property
    def default_model(self) -> str:
        """The model of a prompt that names none."""
        if self.model:
            return self.model
        if self.asks_server:
            return OWN_MODEL
        return SIMULATED_MODEL if self.simulated else DEFAULT_OPENAI_MODEL

    @property
    def asks_server(self) -> bool:
        """Whether the server at `provider_url` is to be asked what it is; OpenAI's own is known."""
        return bool(self.provider_url) and urlsplit(self.provider_url).hostname != OPENAI_HOST

    @property
    def session_topics_ceiling(self) -> int:
        """How many topics sessions may have."""
        if self.session_topics_max:
            return self.session_topics_max
        if self.kafka:
            return SESSION_TOPICS_MAX
        return min(SESSION_TOPICS_MAX, HEAP_TOPICS_MAX * self.kafka_heap_mb // HEAP_MB)

    @property
    def clickhouse_to_read(self) -> str:
        """DSN by which to read an existing ClickHouse; empty: the embedded engine is read."""
        return self.clickhouse_reader or self.clickhouse

    @property
    def known_models(self) -> tuple[str, ...]:
        """Every model that a prompt may name, the default one first."""
        return tuple(dict.fromkeys((self.default_model, *self.models)))


def load_settings(environment: Mapping[str, str] | None = None, **changes: object) -> Settings:
    """Read and check the settings. Raises SettingsError with every fault found.

    `environment` replaces the process's own (for tests); `changes` override both, as command-line options do.
    An `OPENAI_API_KEY` stands in for TOKENWIRE_PROVIDER_KEY.
    """
    source = os.environ if environment is None else environment
    values: dict[str, object] = {}
    for name in Settings.model_fields:
        raw = source.get(ENVIRONMENT_PREFIX + name.upper())
        if raw is not None:
            values[name] = raw
    if "provider_key" not in values and source.get("OPENAI_API_KEY"):
        values["provider_key"] = source["OPENAI_API_KEY"]
    values.update(changes)
    try:
        return IsolatedSettings(**values)  # type: ignore[arg-type]  # checked by pydantic itself
    except ValidationError as error:
        raise SettingsError([fault_sentence(fault["loc"], fault["msg"]) for fault in error.errors()]) from None


def setting_variables() -> frozenset[str]:
    """The variables of all settings."""
    return frozenset(ENVIRONMENT_PREFIX + name.upper() for name in Settings.model_fields)


def unknown_variables(environment: Mapping[str, str] | None = None) -> list[str]:
    """A sentence for each TOKENWIRE_ variable that no setting reads, with the nearest one that is: a slip of the hand.

    Those that only tests read begin with TOKENWIRE_TEST_.
    """
    source = os.environ if environment is None else environment
    known = setting_variables()
    found = sorted(name for name in source if name.startswith(ENVIRONMENT_PREFIX) and name not in known)
    sentences = []
    for name in found:
        if near := difflib.get_close_matches(name, known, n=1, cutoff=NEAR):
            sentences.append(f"{name} is no setting; did you mean {near[0]}?")
        elif not name.startswith(TEST_PREFIX):
            sentences.append(f"{name} is no setting; `docs/reference/settings.md` lists them.")
    return sentences


class IsolatedSettings(Settings):
    """Settings from the given values alone: the environment was read by load_settings, once."""

    @classmethod
    # the ignore: pydantic's signature lists each source by name, and all but one are left out here
    def settings_customise_sources(cls, settings_cls: object, init_settings: object, **_: object) -> tuple[object]:  # type: ignore[override]
        return (init_settings,)


def fault_sentence(location: tuple[int | str, ...], message: str) -> str:
    name = str(location[0]) if location else "settings"
    return f"{ENVIRONMENT_PREFIX}{name.upper()}: {message[0].lower()}{message[1:]}"
