"""Which variables of its environment a process hands on to the processes that it starts.

A process shows the environment that it was started with for as long as it lives, to every program of its account. So
none inherits it whole: each is given what a program needs to run at all, the settings that are no secrets, and those
secrets that its part of the line uses. All of it is on lists; what is on none stays where it is.

    who            secrets
    broker         none, and no settings
    provider       none (it is the simulated one)
    reader         none, and only its own settings
    analytics      Kafka's, the database's
    worker         Kafka's, the models' keys, and what its operator names besides
    gateway        Kafka's, those that sign tokens and cursors, the database's for readers
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Literal, TypeAlias

__all__ = ["NETWORK_VARIABLES", "READER_SETTINGS", "SECRETS", "ChildRole", "child_environment", "program_environment"]

ChildRole: TypeAlias = Literal["broker", "provider", "reader", "analytics", "worker", "gateway"]

PREFIX: Final = "TOKENWIRE_"
NETWORK_VARIABLES: Final = (
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
    "NO_PROXY",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)
"""Proxies, and certificates to trust: what a process needs to reach the network as its owner does."""
PROGRAM: Final = frozenset(
    {
        "HOME",
        "LANG",
        "LANGUAGE",
        "LD_LIBRARY_PATH",
        "LD_PRELOAD",
        "OPENSSL_CONF",
        "PATH",
        "TMPDIR",
        "TZ",
        "VIRTUAL_ENV",
        *NETWORK_VARIABLES,
    }
)
"""What any program may need: to be found and to find, its language, another allocator, the way out of the machine."""
PROGRAM_FAMILIES: Final = ("COVERAGE_", "LC_", "MALLOC_", "PYTHON")
JAVA: Final = frozenset({"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS"})
CLOUD_FAMILIES: Final = ("AWS_",)
"""What a cloud's signer reads: region, profile, keys, and where to get them."""
KAFKA_CLIENTS: Final[frozenset[ChildRole]] = frozenset({"analytics", "worker", "gateway"})
SIGNING: Final[frozenset[ChildRole]] = frozenset({"gateway"})
SECRETS: Final[Mapping[str, frozenset[ChildRole]]] = {
    "TOKENWIRE_KAFKA_SASL_PASSWORD": KAFKA_CLIENTS,
    "TOKENWIRE_KAFKA_OAUTH_CLIENT_SECRET": KAFKA_CLIENTS,
    "TOKENWIRE_AUTH_SECRET": SIGNING,
    "TOKENWIRE_CURSOR_SECRET": SIGNING,
    "TOKENWIRE_CURSOR_SECRET_PREVIOUS": SIGNING,
    "TOKENWIRE_PROVIDER_KEY": frozenset({"worker"}),
    "TOKENWIRE_CLICKHOUSE": frozenset({"analytics", "gateway"}),
    "TOKENWIRE_CLICKHOUSE_READER": frozenset({"gateway"}),
}
"""Settings that open something, and who is given them."""
MODEL_KEY: Final = "OPENAI_API_KEY"
"""Stands in for the provider's key."""
READER_SETTINGS: Final = frozenset(
    PREFIX + name
    for name in ("ALLOWED_HOSTS", "ANALYTICS_PORT", "ANALYTICS_QUERY_S", "HOME", "LOG_FORMAT", "LOG_LEVEL")
)


def program_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What every program is given."""
    return {name: value for name, value in environment.items() if name in PROGRAM or name.startswith(PROGRAM_FAMILIES)}


def child_environment(
    environment: Mapping[str, str],
    role: ChildRole,
    *,
    settings: Collection[str],
    worker_variables: Collection[str] = (),
    signs_by_cloud: bool = False,
) -> dict[str, str]:
    """What a process of a role is given of this environment.

    `settings`: the variables of all settings, secret or not. `worker_variables`: the models' keys, and what else the
    operator wants workers to have. `signs_by_cloud`: Kafka's clients sign with a cloud's credentials.
    """
    given = {name for name in environment if name in settings and may_have(role, name)}
    if role == "gateway" and "TOKENWIRE_CLICKHOUSE_READER" in given:
        given -= {"TOKENWIRE_CLICKHOUSE"}
    if role == "worker":
        given |= {MODEL_KEY, *worker_variables} & environment.keys()
    if role == "broker":
        given |= JAVA & environment.keys()
    if signs_by_cloud and role in KAFKA_CLIENTS:
        given |= {name for name in environment if name.startswith(CLOUD_FAMILIES)}
    return program_environment(environment) | {name: environment[name] for name in given}


def may_have(role: ChildRole, setting: str) -> bool:
    """Whether a setting is for a role."""
    match role:
        case "broker":
            return False
        case "reader":
            return setting in READER_SETTINGS
        case _:
            return role in SECRETS.get(setting, (role,))
