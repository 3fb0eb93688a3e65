"""A writer on a real broker and the real engine, and tables that fail on purpose around the real one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.clickhouse.connection import ClickHouseConnection
from infra.clickhouse.errors import ClickHouseUnavailable
from infra.clickhouse.migrate import migrate
from infra.clock import SystemClock
from infra.kafka.topic_admin import ensure_topics
from infra.settings import Settings, load_settings
from infra.telemetry.metric_names import ANALYTICS_METRICS, WORKER_DEAD_LETTERS
from infra.telemetry.metrics import Metrics
from processors.analytics.analytics_writer import AnalyticsWriter
from processors.analytics.decisions.analytics_rows import Row, RowIdentity
from processors.analytics.records_consumer import RecordsConsumer
from processors.analytics.turn_table import ClickHouseTurnTable, TurnTable
from processors.writing.dead_letter_writer import DeadLetterWriter
from processors.writing.log_appender import LogAppender
from schemas.codec import encode
from schemas.records import AttemptOutcome, TurnRecord
from schemas.session_events import Usage
from schemas.topics import RECORD_PARTITIONS
from tests.fakes.topic_names import RECORDS, fixed_topics

__all__ = [
    "DyingTable",
    "ForgetfulTable",
    "TableBetween",
    "WriterParts",
    "analytics_settings",
    "are_there",
    "attempt_records",
    "expected",
    "opened",
    "publish",
    "stored",
    "until",
    "writing",
]

WAIT_S = 60.0


def analytics_settings(home: Path, bootstrap: str) -> Settings:
    """Settings of one test: its own folder, free ports, quick detection of dead members."""
    return load_settings(
        {}, home=home, kafka=bootstrap, analytics_port=0, metrics_port=0, session_timeout_s=1.5, analytics_query_s=5
    )


def attempt_records(user: str, count: int, *, parts: int = 1) -> list[TurnRecord]:
    """`count` attempts of one user, each in so many parts, in log order."""
    records = []
    for number in range(count):
        for part in range(parts):
            outcome = None
            if part == parts - 1:
                outcome = AttemptOutcome(
                    reason="complete",
                    provider="simulated",
                    model="m1",
                    usage=Usage(input_tokens=3, output_tokens=2 * parts),
                    cost_nano_usd=1_234_567,
                    chunks=2 * parts,
                    accepted_at_us=1_790_000_000_000_001 + number,
                    ended_at_us=1_790_000_001_000_003 + number,
                    ttft_us=12_345,
                )
            records.append(
                TurnRecord(
                    user=user,
                    session=f"s{number % 5}",
                    turn=f"{user}-t{number}",
                    attempt=1,
                    run="r1",
                    prompt_id=f"p{number}",
                    part=part,
                    seq=2 * part,
                    texts=(f"piece {part} ", "é\n'\\\t"),
                    gaps_us=(12_345 + part, 17),
                    outcome=outcome,
                )
            )
    return records


async def publish(settings: Settings, values: Sequence[bytes | TurnRecord]) -> None:
    """Append to the records topic, each user's session on one partition."""
    await ensure_topics(settings, fixed_topics("dedicated"))
    appender = LogAppender(settings, SystemClock(), role="test")
    await appender.start()
    try:
        for number, value in enumerate(values):
            if isinstance(value, TurnRecord):
                partition = sum(value.session.encode()) % RECORD_PARTITIONS
                await appender.append(RECORDS, partition, encode(value), key=value.session.encode())
            else:
                await appender.append(RECORDS, number % RECORD_PARTITIONS, value)
    finally:
        await appender.stop()


@dataclass(frozen=True, slots=True)
class WriterParts:
    """What a test may look into."""

    writer: AnalyticsWriter
    consumer: RecordsConsumer
    connection: ClickHouseConnection
    metrics: Metrics


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[ClickHouseConnection]:
    """A connection to a database with this version's tables."""
    connection = ClickHouseConnection(settings)
    await connection.open()
    try:
        await migrate(connection)
        yield connection
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def writing(
    settings: Settings,
    *,
    around: Callable[[TurnTable], TurnTable] = lambda table: table,
    connection: ClickHouseConnection | None = None,
) -> AsyncIterator[WriterParts]:
    """A writer at work; `around` may put a faulty table between it and the real one."""
    metrics = Metrics((*ANALYTICS_METRICS, WORKER_DEAD_LETTERS))
    async with contextlib.AsyncExitStack() as stack:
        if connection is None:
            connection = await stack.enter_async_context(opened(settings))
        appender = LogAppender(settings, SystemClock(), role="test-analytics")
        stack.push_async_callback(appender.stop)
        await appender.start()
        consumer = RecordsConsumer(settings)
        stack.push_async_callback(consumer.stop)
        await consumer.start()
        letters = DeadLetterWriter(appender, SystemClock(), metrics)
        table = around(ClickHouseTurnTable(connection))
        writer = AnalyticsWriter(consumer, table, letters, metrics, SystemClock())
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(writer.run())
            try:
                yield WriterParts(writer, consumer, connection, metrics)
            finally:
                task.cancel()


async def stored(connection: ClickHouseConnection, user: str) -> list[tuple[str, int, tuple[str, ...]]]:
    """(turn, part, texts) of every row of a user, in order, duplicates included."""
    rows = await connection.query(
        "SELECT turn, part, texts FROM tokenwire.turn_parts WHERE user = {user:String} ORDER BY turn, part",
        {"user": user},
    )
    return [(row[0], row[1], tuple(row[2])) for row in rows]


async def are_there(parts: WriterParts, user: str, records: Sequence[TurnRecord]) -> bool:
    """Whether the rows of a user are those of these records, each once."""
    return await stored(parts.connection, user) == expected(records)


def expected(records: Sequence[TurnRecord]) -> list[tuple[str, int, tuple[str, ...]]]:
    """What `stored` finds of records."""
    return sorted((record.turn, record.part, record.texts) for record in records)


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait for a condition, with a deadline that says what did not happen."""
    try:
        async with asyncio.timeout(WAIT_S):
            while not await condition():  # noqa: ASYNC110 - the condition lies in another system, which tells nobody
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"within {WAIT_S} s: {what}") from None


class TableBetween:
    """Passes everything on to the real table."""

    def __init__(self, table: TurnTable) -> None:
        self.table = table

    async def present(self, identities: Sequence[RowIdentity]) -> set[RowIdentity]:
        return await self.table.present(identities)

    async def insert(self, rows: Sequence[Row], *, token: str) -> None:
        await self.table.insert(rows, token=token)

    async def probe(self) -> None:
        await self.table.probe()


class ForgetfulTable(TableBetween):
    """Executes every insert, but the first answers get lost on the way back."""

    def __init__(self, table: TurnTable, *, lost: int) -> None:
        super().__init__(table)
        self.lost = lost
        self.tokens: list[str] = []

    async def insert(self, rows: Sequence[Row], *, token: str) -> None:
        self.tokens.append(token)
        await self.table.insert(rows, token=token)
        if self.lost > 0:
            self.lost -= 1
            raise ClickHouseUnavailable("the answer was lost")


class DyingTable(TableBetween):
    """The process is killed right after an insert was done (or right before it)."""

    def __init__(self, table: TurnTable, *, after: bool) -> None:
        super().__init__(table)
        self.after = after

    async def insert(self, rows: Sequence[Row], *, token: str) -> None:
        if self.after:
            await self.table.insert(rows, token=token)
        os.kill(os.getpid(), signal.SIGKILL)
