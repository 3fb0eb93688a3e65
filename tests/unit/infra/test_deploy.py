"""What stands in infra/deploy fits the code: settings, commands, packages, dependencies, the proxy's promises."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path

from gateway.services import GatewayRules
from infra.settings import Settings
from tokenwire.command_line import cli

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "infra" / "deploy"
COMPOSE = (DEPLOY / "compose.yaml").read_text()
NGINX = (DEPLOY / "nginx.conf").read_text()
PINNED = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==(\S+)", re.MULTILINE)


def service(name: str) -> str:
    """A service's own lines."""
    found = re.search(rf"^  {name}:\n((?:    .*\n|\n)+)", COMPOSE, re.MULTILINE)
    assert found is not None
    return found[1]


def services() -> set[str]:
    section = COMPOSE.partition("\nservices:\n")[2].partition("\nvolumes:\n")[0]
    return set(re.findall(r"^  ([a-z0-9-]+):$", section, re.MULTILINE))


def test_every_variable_is_a_setting() -> None:
    """In compose and in the example of secrets: one that nobody reads would be believed to work."""
    known = {f"TOKENWIRE_{name.upper()}" for name in Settings.model_fields}
    named = set(re.findall(r"TOKENWIRE_[A-Z_]+", COMPOSE + (DEPLOY / ".env.example").read_text()))

    assert named - known == set()


def test_every_variable_that_must_be_set_is_in_the_example() -> None:
    """Whoever copies it is asked for all of them."""
    example = set(re.findall(r"^([A-Z_]+)=", (DEPLOY / ".env.example").read_text(), re.MULTILINE))

    assert set(re.findall(r"\$\{([A-Z_]+)[:}]", COMPOSE)) <= example


def test_no_secret_has_a_value() -> None:
    """They come from the operator."""
    example = (DEPLOY / ".env.example").read_text()

    assert re.findall(r"^[A-Z_]*(?:SECRET|PASSWORD|KEY)[A-Z_]*=.+$", example, re.MULTILINE) == []


def test_every_command_exists() -> None:
    """As the image's entry point is given it."""
    commands = re.findall(r"command: \[([a-z]+)\]", COMPOSE)

    assert {"gateway", "worker", "analytics", "migrate"} <= set(commands) <= set(cli.commands)


def test_services_wait_for_services_that_exist() -> None:
    """And the proxy knows the gateways by their names."""
    needed = set(re.findall(r"^      ([a-z0-9-]+): \{ condition", COMPOSE, re.MULTILINE))
    needed |= set(re.findall(r"^    ([a-z0-9-]+): \{ condition", COMPOSE, re.MULTILINE))
    upstreams = set(re.findall(r"server ([a-z0-9-]+):8080", NGINX))

    assert needed <= services()
    assert upstreams == {name for name in services() if name.startswith("gateway")}


def test_three_brokers_that_lose_nothing_acknowledged() -> None:
    """Replication 3, two must have it, nobody behind becomes leader, and nothing makes topics by being asked."""
    assert {name for name in services() if name.startswith("kafka")} == {"kafka-1", "kafka-2", "kafka-3"}
    for place in (1, 2, 3):
        assert f"KAFKA_NODE_ID: {place}\n" in service(f"kafka-{place}")
    for line in (
        "KAFKA_DEFAULT_REPLICATION_FACTOR: 3",
        "KAFKA_MIN_INSYNC_REPLICAS: 2",
        'KAFKA_UNCLEAN_LEADER_ELECTION_ENABLE: "false"',
        'KAFKA_AUTO_CREATE_TOPICS_ENABLE: "false"',
        "TOKENWIRE_KAFKA_REPLICATION: 3",
    ):
        assert line in COMPOSE


def test_gateways_may_finish_draining() -> None:
    """The engine waits longer than the clients' slots and their goodbyes take."""
    drain = re.search(r"TOKENWIRE_GATEWAY_DRAIN_S: (\d+)", COMPOSE)
    grace = re.search(r"x-gateway:(?:.|\n)*?stop_grace_period: (\d+)s", COMPOSE)

    assert drain is not None
    assert grace is not None
    assert int(grace[1]) >= int(drain[1]) + 10


def test_the_proxy_holds_nothing_back() -> None:
    """Upgrades pass, nothing is buffered, and silence between two pings is no fault."""
    for line in (
        "proxy_http_version 1.1;",
        "proxy_set_header Upgrade $http_upgrade;",
        "proxy_set_header Connection $connection_upgrade;",
        "proxy_buffering off;",
        "access_log off;",
    ):
        assert line in NGINX
    hours = re.search(r"proxy_read_timeout (\d+)h;", NGINX)
    assert hours is not None
    silence_s = sum(float(str(field.default)) for field in fields(GatewayRules) if field.name in ("ping_s", "pong_s"))
    assert int(hours[1]) * 3_600 > silence_s > 0


def test_image_holds_every_package() -> None:
    """Those of the wheel, no more."""
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
        "packages"
    ]
    copied = re.findall(r"^COPY (\w+) /build/\1$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)

    assert sorted(copied) == sorted(packages)


def test_image_has_what_was_tested() -> None:
    """Each version of the image's lock is the one of requirements.lock; nothing of the tests is in it."""
    tested = dict(PINNED.findall((ROOT / "requirements.lock").read_text()))
    shipped = dict(PINNED.findall((DEPLOY / "requirements.lock").read_text()))

    assert {name: version for name, version in shipped.items() if tested.get(name) != version} == {}
    assert "pytest" not in shipped
    assert {"aiokafka", "websockets", "pyjwt"} <= shipped.keys()
