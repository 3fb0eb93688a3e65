"""`tokenwire gateway | worker | analytics | reader | provider | broker`: a process each, as `tokenwire up` has them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from infra.settings import Settings

__all__ = ["analytics", "broker", "gateway", "provider", "reader", "worker"]

PROCESSES_MAX: Final = 64
EMBEDDED_NICENESS: Final = 10
"""The embedded engine shares its machine with the answers, and nobody waits for a row as they wait for a token."""


@click.command()
@click.option(
    "--processes",
    type=click.IntRange(1, PROCESSES_MAX),
    default=1,
    show_default=True,
    help="So many on one port, with their metrics added up; SIGHUP replaces them one by one, successors first.",
)
def gateway(processes: int) -> None:
    """Run a gateway: websockets, chat page, health, metrics.

    \b
    Examples:
      TOKENWIRE_KAFKA=kafka-1:9092 TOKENWIRE_GATEWAY_PORT=8081 tokenwire gateway
      TOKENWIRE_KAFKA=kafka-1:9092 tokenwire gateway --processes 4
    """
    settings = process_settings("gateway")
    require_broker_token(settings)
    if processes > 1:
        from tokenwire.line.one_port import serve_on_one_port

        code = asyncio.run(serve_on_one_port(settings, processes, lambda words: click.echo(words, err=True)))
        raise SystemExit(code)
    from gateway.process.server import run_gateway

    run_gateway(settings)


@click.command()
def worker() -> None:
    """Run a worker: prompts in, answers out.

    \b
    Example:
      TOKENWIRE_KAFKA=kafka-1:9092 OPENAI_API_KEY=… tokenwire worker
    """
    settings = process_settings("worker")
    require_broker_token(settings)
    from processors.app import run_worker

    run_worker(settings)


@click.command()
def analytics() -> None:
    """Run the analytics writer.

    With the embedded engine, `tokenwire reader` beside it answers queries.

    \b
    Example:
      TOKENWIRE_CLICKHOUSE=https://writer:…@clickhouse:8443/tokenwire tokenwire analytics
    """
    settings = process_settings("analytics")
    require_broker_token(settings)
    if not settings.clickhouse:
        os.nice(EMBEDDED_NICENESS)
    from processors.analytics.analytics_process import run_analytics

    asyncio.run(run_analytics(settings))


@click.command()
@click.option("--cleaned", is_flag=True, hidden=True, help="The environment holds nothing that it should not.")
def reader(*, cleaned: bool) -> None:
    """Answer read-only queries on what `tokenwire analytics` keeps in its embedded engine.

    ClickHouse over HTTP, on this machine only.

    \b
    Example:
      TOKENWIRE_ANALYTICS_PORT=8124 tokenwire reader
    """
    if os.environ.get("TOKENWIRE_CLICKHOUSE"):
        raise click.UsageError("TOKENWIRE_CLICKHOUSE names a server, which answers its readers itself; leave it out.")
    from infra.embedded.decisions.reader_environment import reader_environment
    from infra.embedded_parts import EmbeddedPart, require_embedded

    require_embedded(EmbeddedPart.ENGINE)
    kept = reader_environment(os.environ)
    if not cleaned and kept != dict(os.environ):
        os.execve(sys.executable, [*sys.orig_argv, "--cleaned"], kept)
    settings = process_settings("reader")
    os.nice(EMBEDDED_NICENESS)
    from infra.embedded.reader_process import run_reader

    asyncio.run(run_reader(settings, lambda port: click.echo(f"Listening at http://127.0.0.1:{port}")))


@click.command()
def provider() -> None:
    """Run the simulated model provider.

    OpenAI's HTTP interface, deterministic answers, faults on demand.

    \b
    Example:
      TOKENWIRE_PROVIDER_PORT=8090 tokenwire provider
    """
    settings = process_settings("provider")
    from infra.host_names import known_names
    from infra.simulated_provider.server import serve

    serve(
        port=settings.provider_port,
        names=known_names(settings.allowed_hosts),
        on_ready=lambda running: click.echo(f"Listening at {running.base_url}"),
    )


@click.command(hidden=True)
def broker() -> None:
    """Run the embedded Kafka broker alone, with its topics.

    \b
    Example:
      TOKENWIRE_KAFKA_PORT=9092 tokenwire broker
    """
    asyncio.run(run_broker(process_settings("broker")))


async def run_broker(settings: Settings) -> None:
    from infra.embedded.broker import EmbeddedBroker
    from infra.kafka.topic_admin import ensure_topics
    from infra.settings import load_settings
    from tokenwire.line.jars_progress import show_jars_progress

    stopping = asyncio.Event()
    embedded = EmbeddedBroker.from_settings(settings, show_jars_progress)
    await embedded.start()
    try:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopping.set)
        reached = load_settings(None, kafka=embedded.bootstrap_servers)
        await ensure_topics(reached, settings.fixed_topics)
        click.echo(f"Kafka is ready at {embedded.bootstrap_servers}")
        ended = asyncio.ensure_future(embedded.wait())
        asked = asyncio.ensure_future(stopping.wait())
        await asyncio.wait({ended, asked}, return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        if not stopping.is_set():
            raise click.ClickException(f"the broker ended with code {ended.result()}; see {embedded.log_file}")
    finally:
        await embedded.stop()


def require_broker_token(settings: Settings) -> None:
    """Without an access token no client gets anywhere: say so at once, and in one place.

    Raises BrokerTokenUnavailable.
    """
    from infra.kafka.connection import token_source

    source = token_source(settings)
    if source is not None:
        source.token_blocking()


def process_settings(name: str) -> Settings:
    """The settings, and logging set up by them: what every process begins with."""
    import structlog

    from infra.private_files import keep_private
    from infra.settings import load_settings, unknown_variables
    from infra.telemetry.log_setup import configure_logging
    from infra.tried_packages import require_tried_packages

    require_tried_packages()
    settings = load_settings()
    keep_private(settings.home)
    configure_logging(settings.log_format, settings.log_level, name)
    for sentence in unknown_variables():
        structlog.get_logger(__name__).warning("unknown_setting", message=sentence)
    return settings
