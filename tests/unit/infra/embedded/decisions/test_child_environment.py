"""What a child process is given of its owner's environment."""

from __future__ import annotations

from typing import Final, get_args

import pytest
from pydantic import SecretStr

from infra.embedded.decisions.child_environment import (
    NETWORK_VARIABLES,
    SECRETS,
    ChildRole,
    child_environment,
    program_environment,
)
from infra.settings import Settings, setting_variables

__all__: list[str] = []

ROLES: Final[tuple[ChildRole, ...]] = get_args(ChildRole)
CANARIES: Final = {
    "OPENAI_API_KEY": {"worker"},
    "GROQ_API_KEY": {"worker"},
    "SCORER_TOKEN": {"worker"},
    "TOKENWIRE_PROVIDER_KEY": {"worker"},
    "TOKENWIRE_AUTH_SECRET": {"gateway"},
    "TOKENWIRE_CURSOR_SECRET": {"gateway"},
    "TOKENWIRE_CURSOR_SECRET_PREVIOUS": {"gateway"},
    "TOKENWIRE_CLICKHOUSE": {"analytics"},
    "TOKENWIRE_CLICKHOUSE_READER": {"gateway"},
    "TOKENWIRE_KAFKA_SASL_PASSWORD": {"analytics", "worker", "gateway"},
    "TOKENWIRE_KAFKA_OAUTH_CLIENT_SECRET": {"analytics", "worker", "gateway"},
    "AWS_SECRET_ACCESS_KEY": {"analytics", "worker", "gateway"},
    "AWS_SESSION_TOKEN": {"analytics", "worker", "gateway"},
    "JAVA_TOOL_OPTIONS": {"broker"},
    "GITHUB_TOKEN": set(),
    "SSH_AUTH_SOCK": set(),
    "TOKENWIRE_AUTH_SECERT": set(),
}
"""Each variable, and who is given it."""


def given(role: ChildRole, environment: dict[str, str], *, by_cloud: bool = True) -> dict[str, str]:
    return child_environment(
        environment,
        role,
        settings=setting_variables(),
        worker_variables=("GROQ_API_KEY", "SCORER_TOKEN", "ABSENT"),
        signs_by_cloud=by_cloud,
    )


@pytest.mark.parametrize("role", ROLES)
def test_S21_secrets_go_where_they_are_needed(role: ChildRole) -> None:
    """And nowhere else, nor does anything that is on no list."""
    environment = dict.fromkeys(CANARIES, "canary")

    assert given(role, environment).keys() == {name for name, roles in CANARIES.items() if role in roles}


@pytest.mark.parametrize("role", ROLES)
def test_every_child_can_run(role: ChildRole) -> None:
    """Path, language, proxies, certificates, allocator, coverage; a reader and a broker have no settings of others."""
    needed = {name: name for name in ("PATH", "HOME", "TMPDIR", "LC_ALL", "TZ", "PYTHONPATH", "MALLOC_ARENA_MAX")}
    needed |= {name: name for name in (*NETWORK_VARIABLES, "COVERAGE_PROCESS_START", "LD_LIBRARY_PATH")}
    found = given(role, {**needed, "TOKENWIRE_LOG_LEVEL": "debug", "TOKENWIRE_KAFKA": "kafka:9092"})

    assert needed.items() <= found.items()
    assert ("TOKENWIRE_LOG_LEVEL" in found) == (role != "broker")
    assert ("TOKENWIRE_KAFKA" in found) == (role not in ("broker", "reader"))
    assert program_environment(found) == needed


def test_cloud_s_credentials_are_for_kafka_s_signer_alone() -> None:
    """Without it nobody gets them; a gateway reads the database by its one account where there is no other."""
    environment = {"AWS_SECRET_ACCESS_KEY": "canary", "TOKENWIRE_CLICKHOUSE": "https://w:p@db"}

    assert "AWS_SECRET_ACCESS_KEY" not in given("worker", environment, by_cloud=False)
    assert given("gateway", environment)["TOKENWIRE_CLICKHOUSE"] == "https://w:p@db"


def test_every_secret_setting_is_on_the_list() -> None:
    """A new one would otherwise reach everybody."""
    secret = {
        f"TOKENWIRE_{name.upper()}" for name, field in Settings.model_fields.items() if field.annotation is SecretStr
    }

    assert secret | {"TOKENWIRE_CLICKHOUSE", "TOKENWIRE_CLICKHOUSE_READER"} == SECRETS.keys()
