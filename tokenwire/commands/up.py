"""`tokenwire up`: everything on this machine, under one supervisor."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import click
import msgspec

from tokenwire.commands.page import page_address
from tokenwire.commands.send import DEFAULT_USER

if TYPE_CHECKING:
    from infra.embedded.broker import EmbeddedBroker
    from infra.embedded.child_spec import ReadyProbe
    from infra.embedded.cluster import EmbeddedCluster
    from infra.embedded_parts import EmbeddedPart
    from infra.settings import Settings
    from infra.targets.targets_file import LoadedCatalogue
    from tokenwire.line.launch_plan import BrokerStart, LaunchPlan
    from tokenwire.line.line_ports import LinePorts
    from tokenwire.line.running_line import HeldHome, RunningLine

__all__ = ["up"]

PROCESSES_MAX: Final = 64
OPENAI_ADDRESS: Final = "https://api.openai.com/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """What the command line says."""

    models: LoadedCatalogue
    no_provider: bool
    workers: int
    gateways: int
    as_json: bool

    @property
    def simulated(self) -> bool:
        """Whether every answer is made up."""
        return all(self.made_up())

    @property
    def provider(self) -> bool:
        """Whether the simulated provider is to be started."""
        return any(self.made_up()) and not self.no_provider

    def made_up(self) -> list[bool]:
        from infra.targets.presets import is_simulated

        return [is_simulated(target) for target in self.models.targets.values()]


@click.command()
@click.option("--no-provider", is_flag=True, help="Leave the simulated provider out: another one runs at its address.")
@click.option(
    "--workers", type=click.IntRange(1, PROCESSES_MAX), default=1, show_default=True, help="Worker processes."
)
@click.option("--gateways", type=click.IntRange(1, PROCESSES_MAX), default=1, show_default=True, help="Gateways.")
@click.option(
    "--brokers",
    type=click.Choice(["1", "3"]),
    help="Kafka brokers; with 3, one may be gone.  [default: TOKENWIRE_KAFKA_BROKERS, else 1]",
)
@click.option(
    "--topic-layout",
    type=click.Choice(["dedicated", "shared"]),
    help="A topic per session, or sessions in shared topics.  [default: TOKENWIRE_TOPIC_LAYOUT, else dedicated]",
)
@click.option("--json", "as_json", is_flag=True, help="Once ready, print the addresses as one JSON object.")
def up(
    *, no_provider: bool, workers: int, gateways: int, brokers: str | None, topic_layout: str | None, as_json: bool
) -> int:
    """Run everything on this machine; ctrl-C stops it.

    Kafka, ClickHouse, the model, worker, gateway and chat page, restarted when they fail.

    With OPENAI_API_KEY or TOKENWIRE_PROVIDER_URL set it talks to a real model, else to a simulated one.

    \b
    Examples:
      tokenwire up
      TOKENWIRE_GATEWAY_PORT=0 tokenwire up --workers 2 --gateways 2
    """
    from infra.private_files import keep_private
    from infra.settings import load_settings
    from infra.telemetry.log_setup import configure_logging
    from tokenwire.line.client_start import warn_of_unknown

    changes: dict[str, object] = {} if topic_layout is None else {"topic_layout": topic_layout}
    if brokers is not None:
        changes["kafka_brokers"] = int(brokers)
    settings = load_settings(None, **changes)
    if settings.kafka and brokers is not None:
        raise click.UsageError("--brokers is for embedded brokers, and TOKENWIRE_KAFKA names a cluster; leave one out.")
    keep_private(settings.home)
    configure_logging(settings.log_format, "debug" if settings.log_level == "debug" else "error", "up")
    warn_of_unknown()
    options = UpOptions(
        models=load_models(settings), no_provider=no_provider, workers=workers, gateways=gateways, as_json=as_json
    )
    return asyncio.run(run_line(settings, options))


def load_models(settings: Settings) -> LoadedCatalogue:
    """The models that will be served, with a line for each doubt about them. Raises CatalogueError."""
    from infra.targets.targets_file import load_catalogue

    loaded = load_catalogue(settings)
    for warning in loaded.warnings:
        click.echo(warning, err=True)
    return loaded


async def run_line(settings: Settings, options: UpOptions) -> int:
    """Check, prepare, run until stopped; the exit code."""
    from infra.embedded.cluster import EmbeddedCluster
    from infra.embedded.disk_space import require_disk_space
    from infra.embedded_parts import require_embedded
    from tokenwire.line.jars_progress import show_jars_progress
    from tokenwire.line.launch_plan import BrokerStart
    from tokenwire.line.line_ports import choose_line_ports
    from tokenwire.line.running_line import hold_home

    require_embedded(*embedded_parts(settings))
    require_disk_space(settings.home)
    with hold_home(settings.home) as held:
        ports = choose_line_ports(
            settings, workers=options.workers, gateways=options.gateways, provider=options.provider
        )
        if settings.kafka:
            plan = plan_of(settings, ports, settings.kafka, options)
            await ensure_line_topics(plan)
            return await supervise(plan, [], held, options)
        cluster = EmbeddedCluster.from_settings(settings, show_jars_progress)
        if cluster.replication > 1:
            settings = settings.model_copy(update={"kafka_replication": cluster.replication})
        try:
            commands = await cluster.prepare()
            plan = plan_of(settings, ports, cluster.bootstrap_servers, options)
            is_ready = brokers_ready(cluster, plan)
            starts = [
                BrokerStart(command, is_ready(broker), broker.chosen_ports)
                for command, broker in zip(commands, cluster.brokers, strict=True)
            ]
            return await supervise(plan, starts, held, options)
        finally:
            await cluster.stop()


def embedded_parts(settings: Settings) -> list[EmbeddedPart]:
    """What the settings leave to this machine."""
    from infra.embedded_parts import EmbeddedPart

    named = ((EmbeddedPart.BROKER, settings.kafka), (EmbeddedPart.ENGINE, settings.clickhouse))
    return [part for part, address in named if not address]


def brokers_ready(cluster: EmbeddedCluster, plan: LaunchPlan) -> Callable[[EmbeddedBroker], ReadyProbe]:
    """What makes a broker's probe: it answers; the first time, all know each other as well and the topics are made."""
    topics_made = False
    making = asyncio.Lock()

    def probe_of(broker: EmbeddedBroker) -> ReadyProbe:
        async def is_ready() -> bool:
            nonlocal topics_made
            if not await broker.is_ready():
                return False
            async with making:
                if not topics_made and await cluster.is_complete():
                    await ensure_line_topics(plan)
                    topics_made = True
            return topics_made

        return is_ready

    return probe_of


def plan_of(settings: Settings, ports: LinePorts, kafka: str, options: UpOptions) -> LaunchPlan:
    from tokenwire.line.launch_plan import LaunchPlan

    models, source = options.models, options.models.source
    if options.simulated:
        answers_from = "the simulated provider (set OPENAI_API_KEY or TOKENWIRE_PROVIDER_URL for a real model)"
    elif source is not None:
        answers_from = f"{', '.join(models.catalogue.known_models)} (as {source} says)"
    else:
        model = "the server's own model" if settings.asks_server and not settings.model else settings.default_model
        answers_from = f"{model} at {settings.provider_base_url or OPENAI_ADDRESS}"
    return LaunchPlan(
        settings=settings,
        ports=ports,
        kafka=kafka,
        provider=options.provider,
        simulated=options.simulated,
        answers_from=answers_from,
        own_environment=os.environ,
        key_variables=frozenset(target.key_env for target in models.targets.values() if target.key_env),
    )


async def supervise(plan: LaunchPlan, brokers: Sequence[BrokerStart], held: HeldHome, options: UpOptions) -> int:
    from infra.clickhouse.reader_token import reader_token
    from infra.confinement import Confinement, landlock_version
    from infra.embedded.supervisor import Supervisor
    from tokenwire.line.restart_requests import serve_restarts

    home = plan.settings.home
    token = "" if plan.settings.clickhouse else reader_token(home)  # damaged: said before anything runs
    if token and (lacking := Confinement(landlock_version()).lacking):
        click.echo(f"Queries of readers run less confined than they could: {lacking}.", err=True)

    def on_all_ready() -> None:
        line = msgspec.structs.replace(line_of(plan), control=control)
        held.announce(line)
        page = page_address(plan.settings, line.page, DEFAULT_USER, now_s=time.time())  # its file holds no code
        line = msgspec.structs.replace(line, page=page)
        click.echo(json.dumps(addresses(line, plan, token)) if options.as_json else welcome(line, plan, token))

    children = plan.children(brokers)
    supervisor = Supervisor(
        children,
        logs_folder=home.absolute() / "logs",
        say=lambda sentence: click.echo(sentence, err=True),
        on_all_ready=on_all_ready,
    )
    async with serve_restarts(supervisor, [spec.name for spec in children], home) as control:
        return await supervisor.run()


async def ensure_line_topics(plan: LaunchPlan) -> None:
    from infra.kafka.topic_admin import ensure_topics

    settings = plan.settings.model_copy(update={"kafka": plan.kafka})
    await ensure_topics(settings, settings.fixed_topics)


def line_of(plan: LaunchPlan) -> RunningLine:
    from tokenwire.line.running_line import RunningLine

    settings = plan.settings
    analytics = settings.clickhouse.rpartition("@")[2] or f"http://127.0.0.1:{plan.ports.analytics}"
    return RunningLine(
        pid=os.getpid(),
        page=f"{plan.gateway_address(plan.ports.gateways[0])}/",
        kafka=plan.kafka,
        analytics=analytics,
        provider=provider_address(plan),
        model=settings.default_model,
        logs=str(settings.home / "logs"),
        environment=plan.environment,
    )


def provider_address(plan: LaunchPlan) -> str:
    if plan.simulated:
        return f"http://127.0.0.1:{plan.ports.provider}/v1"
    return plan.settings.provider_base_url or OPENAI_ADDRESS


def addresses(line: RunningLine, plan: LaunchPlan, token: str) -> dict[str, Any]:
    """What a script needs to know. `token`: the readers' of the embedded engine."""
    return {
        "page": line.page,
        "gateways": [plan.gateway_address(port) for port in plan.ports.gateways],
        "kafka": line.kafka,
        "analytics": line.analytics,
        **({"analytics_token": token} if token else {}),
        "provider": line.provider,
        "simulated": plan.simulated,
        "model": line.model,
        "logs": line.logs,
    }


def welcome(line: RunningLine, plan: LaunchPlan, token: str) -> str:
    """What a person needs to know. `token`: the readers' of the embedded engine."""
    from infra.sign_in_codes import CODE_S

    once = f"  Another browser: tokenwire page (an address signs in once, within {CODE_S / 60:.0f} minutes)\n"
    others = [plan.gateway_address(port) for port in plan.ports.gateways[1:]]
    rows = [
        ("Chat page", click.style(line.page, bold=True)),
        *([("More gateways", ", ".join(others))] if others else []),
        ("Kafka", line.kafka),
        ("Analytics", f"{with_token(line.analytics, token)} (ClickHouse over HTTP, read-only)"),
        ("Answers from", plan.answers_from),
        ("Logs", line.logs),
    ]
    table = "\n".join(f"  {name:<14}{value}" for name, value in rows)
    return (
        f"\n{click.style('Tokenwire is ready.', bold=True)} Open the chat page:\n\n{table}\n\n"
        f'  Another terminal: tokenwire send "Why is the sky blue?"\n'
        f"{once if '#' in line.page else ''}"
        f"  Ctrl-C stops everything; what was said stays in {plan.settings.home}.\n"
    )


def with_token(address: str, token: str) -> str:
    """An address that clients take as it is, user and password included."""
    from infra.clickhouse.decisions.reader_access import READER_NAME

    scheme, _, place = address.partition("://")
    return f"{scheme}://{READER_NAME}:{quote(token, safe='')}@{place}" if token else address
