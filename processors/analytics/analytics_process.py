"""The process `tokenwire analytics`: migrations and the exact writer.

In embedded mode it tells the readers' process (`infra/embedded/reader_process.py`) of its tables.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog
from aiokafka.errors import KafkaError

from infra.async_waits import set_within
from infra.clickhouse.connection import ClickHouseConnection
from infra.clickhouse.errors import ClickHouseUnavailable
from infra.clickhouse.migrate import migrate
from infra.clickhouse.notice_writing import leave_notice
from infra.clock import Clock, SystemClock
from infra.decisions.backoff import Backoff
from infra.host_names import known_names
from infra.kafka.cluster_errors import ClusterUnavailable
from infra.settings import Settings
from infra.stop_signals import heed_signals
from infra.telemetry.metric_names import ANALYTICS_METRICS, WORKER_DEAD_LETTERS
from infra.telemetry.metrics import Metrics, MetricsEndpoint
from processors.analytics.analytics_writer import AnalyticsWriter
from processors.analytics.records_consumer import RecordsConsumer
from processors.analytics.turn_table import ClickHouseTurnTable
from processors.writing.dead_letter_writer import DeadLetterWriter
from processors.writing.log_appender import LogAppender

__all__ = ["AnalyticsReady", "run_analytics"]

log = structlog.get_logger(__name__)

START_BACKOFF: Final = Backoff(1.0)
WRITER_STOP_S: Final = 3.0
MESSAGE_CHARS_MAX: Final = 300


@dataclass(frozen=True, slots=True)
class AnalyticsReady:
    """Where the process answers."""

    metrics_port: int


async def run_analytics(
    settings: Settings,
    on_ready: Callable[[AnalyticsReady], None] | None = None,
    *,
    stopping: asyncio.Event | None = None,
) -> None:
    """Run until SIGTERM, SIGINT or `stopping`. `on_ready` hears once rows are written.

    Raises DataFolderInUse, MigrationConflict, ClickHouseRefused, SecretDamaged: an operator must act. A
    ClickHouse or Kafka that does not answer is waited for.
    Cancellation: everything is stopped as by a signal.
    """
    stop = stopping or asyncio.Event()
    heed_signals(stop)
    clock, metrics = SystemClock(), Metrics((*ANALYTICS_METRICS, WORKER_DEAD_LETTERS))
    async with contextlib.AsyncExitStack() as stack:
        connection = ClickHouseConnection(settings)
        stack.push_async_callback(connection.close)
        if not await patiently(lambda: opened(connection), stop, "clickhouse_awaited"):
            return
        if connection.embedded:
            await leave_notice(connection, settings.home)
        port = settings.metrics_port + 1 if settings.metrics_port else 0
        writer: AnalyticsWriter | None = None

        def obstacle() -> str:
            return "Kafka does not answer yet" if writer is None else writer.obstacle()

        endpoint = MetricsEndpoint(metrics, port, names=known_names(settings.allowed_hosts), obstacle=obstacle)
        stack.push_async_callback(endpoint.stop)
        metrics_port = await endpoint.start()
        writer = await patiently_started(settings, connection, metrics=metrics, clock=clock, stack=stack, stop=stop)
        if writer is None:
            return
        async with running(writer):
            log.info("analytics_ready", metrics_port=metrics_port)
            if on_ready is not None:
                on_ready(AnalyticsReady(metrics_port))
            await stop.wait()
            log.info("analytics_stopping")


async def opened(connection: ClickHouseConnection) -> None:
    await connection.open()
    await migrate(connection)


async def patiently_started(
    settings: Settings,
    connection: ClickHouseConnection,
    *,
    metrics: Metrics,
    clock: Clock,
    stack: contextlib.AsyncExitStack,
    stop: asyncio.Event,
) -> AnalyticsWriter | None:
    consumer = RecordsConsumer(settings)
    appender = LogAppender(settings, clock, role="analytics")
    stack.push_async_callback(appender.stop)
    stack.push_async_callback(consumer.stop)
    if not await patiently(appender.start, stop, "kafka_awaited"):
        return None
    if not await patiently(consumer.start, stop, "kafka_awaited"):
        return None
    letters = DeadLetterWriter(appender, clock, metrics)
    return AnalyticsWriter(consumer, ClickHouseTurnTable(connection), letters, metrics, clock)


@contextlib.asynccontextmanager
async def running(writer: AnalyticsWriter) -> AsyncIterator[None]:
    """The writer's task; an error of it ends the process, a stop cancels it."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(writer.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task}, timeout=WRITER_STOP_S)


async def patiently(start: Callable[[], Awaitable[None]], stop: asyncio.Event, event: str) -> bool:
    """Try until it starts; False when told to stop first."""
    while not stop.is_set():
        try:
            await start()
            return True
        except (ClickHouseUnavailable, KafkaError, ClusterUnavailable) as error:
            log.warning(event, error=type(error).__name__, message=str(error)[:MESSAGE_CHARS_MAX])
        await set_within(stop, START_BACKOFF.pause_s())
    return False
