"""Records into ClickHouse, each exactly once. `decisions/insert_plan.py` says why that holds.

Order for every insert: look which rows are there → commit the plan, the offset left at its first → insert under the
plan's token → dead letters → commit the offset after its last. While ClickHouse does not answer, or takes nothing,
nothing is polled: the log keeps the records, this process keeps one batch.

A batch that is refused for what a row of it holds (`infra/clickhouse/decisions/row_refusals.py`) is planned anew, half
as long, until that row is alone. It goes to the dead letters once the table has taken another row and refused this one
again. Everything else that ClickHouse says no with is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import structlog
from aiokafka.errors import KafkaError

from infra.async_waits import done_at_last
from infra.clickhouse.errors import ClickHouseError, RowsRefused
from infra.clock import Clock
from infra.decisions.backoff import Backoff
from infra.telemetry.metric_names import (
    ANALYTICS_BLOCKED_SECONDS,
    ANALYTICS_FAILURES,
    ANALYTICS_INSERT_SECONDS,
    ANALYTICS_LAG_RECORDS,
    ANALYTICS_ROWS,
)
from infra.telemetry.metrics import Metrics
from processors.analytics.decisions.analytics_rows import TABLE, fault_of, identity_of, row_of
from processors.analytics.decisions.insert_plan import (
    NotAPlan,
    Plan,
    PlannedRecord,
    decode_plan,
    encode_plan,
    kept_records,
    make_plan,
    token_of,
)
from processors.analytics.records_consumer import RECORDS_BACKOFF, OwnershipLost, RecordsConsumer
from processors.analytics.turn_table import TurnTable
from processors.writing.dead_letter_writer import DeadLetterWriter
from processors.writing.log_appender import AppendFailed
from schemas.codec import decode_record
from schemas.errors import MalformedRecord
from schemas.records import TurnRecord

__all__ = ["AnalyticsWriter", "ReadRecord", "read_record"]

log = structlog.get_logger(__name__)

Answer = TypeVar("Answer")

INSERT_ROWS_MAX: Final = 2_000
INSERT_BYTES_MAX: Final = 8_388_608
CLICKHOUSE_BACKOFF: Final = Backoff(0.5, growth="doubling", longest_pause_s=15.0)
ROW_REFUSED: Final = "row_refused"


@dataclass(frozen=True, slots=True)
class ReadRecord:
    """A record of the log with what became of its bytes; without `record` it goes to the dead letters."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    record: TurnRecord | None
    reason: str = ""
    message: str = ""

    @property
    def planned(self) -> PlannedRecord:
        """What a plan needs of it."""
        return PlannedRecord(self.offset, None if self.record is None else identity_of(self.record))


@dataclass(frozen=True, slots=True)
class Blocked:
    """A time in which ClickHouse takes nothing."""

    since_s: float
    reason: str


class AnalyticsWriter:
    """Moves the records of the partitions that the group gives it. `run` until cancelled."""

    def __init__(
        self,
        consumer: RecordsConsumer,
        table: TurnTable,
        dead_letters: DeadLetterWriter,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._consumer = consumer
        self._table = table
        self._dead_letters = dead_letters
        self._clock = clock
        self.marks: dict[int, int] = {}
        self._rows = metrics.counter(ANALYTICS_ROWS).labels(table="turns")
        self._lag = metrics.gauge(ANALYTICS_LAG_RECORDS)
        self._insert_seconds = metrics.histogram(ANALYTICS_INSERT_SECONDS)
        self._failures = metrics.counter(ANALYTICS_FAILURES)
        self._blocked: Blocked | None = None
        metrics.gauge(ANALYTICS_BLOCKED_SECONDS).set_function(self.blocked_s)

    def blocked_s(self) -> float:
        """For how long ClickHouse has taken nothing; 0 while it does."""
        return self._clock.monotonic_s() - self._blocked.since_s if self._blocked else 0.0

    def obstacle(self) -> str:
        """What keeps records from ClickHouse, in a sentence; empty where nothing does."""
        if self._blocked is None:
            return ""
        taken = f"ClickHouse has taken no rows for {self.blocked_s():.0f} s ({self._blocked.reason})"
        return f"{taken}; records wait on their log"

    async def run(self) -> None:
        """Write until cancelled.

        Cancellation: an insert under way may still be done; the next writer repeats it under the same token.
        """
        while True:
            try:
                await self.turn_over()
            except OwnershipLost as error:
                self._blocked = None  # it may be another writer that waits now
                log.info("records_reassigned", reason=str(error))
            except (KafkaError, AppendFailed, TimeoutError) as error:
                log.warning("records_unavailable", error=type(error).__name__)
                self._consumer.watch.fresh = {place.partition for place in self._consumer.consumer.assignment()}
                await asyncio.sleep(RECORDS_BACKOFF.pause_s())

    async def turn_over(self) -> None:
        """Place what was newly assigned, then write one batch of every partition that has records."""
        epoch = self._consumer.epoch
        for partition in self._consumer.take_fresh():
            await self.adopt(partition, epoch)
        batches = await self._consumer.poll()
        while self._consumer.lost:
            await self._dead_letters.write_lost(self._consumer.lost[0])
            self._consumer.lost.popleft()
        for batch in batches:
            await self.write(batch.partition, [read_record(record) for record in batch.records], epoch)
        self.show_lag()

    async def adopt(self, partition: int, epoch: int) -> None:
        """Start where the last writer left off; if it left a plan, carry out exactly that."""
        mark = await self._consumer.place(partition)
        self._consumer.require(epoch)
        self.marks[partition] = mark.offset
        match decode_plan(mark.metadata):
            case NotAPlan():
                return
            case Plan() as plan if plan.first == mark.offset:
                await self.repeat(partition, plan, epoch)
            case Plan():
                log.warning("plan_misplaced", partition=partition, offset=mark.offset)

    async def repeat(self, partition: int, plan: Plan, epoch: int) -> None:
        found = await self._consumer.read_range(partition, plan.first, plan.last)
        records = [read_record(record) for record in found]
        kept = kept_records(plan, [record.planned for record in records])
        if token_of(self.place_of(partition), plan.first, plan.last, kept) != plan.token:
            # The log no longer holds the planned range: what it does hold is planned anew, and what an earlier
            # insert brought is found by its identity.
            log.warning("plan_not_repeatable", partition=partition, first=plan.first, last=plan.last)
            await self.write(partition, records, epoch)
            return
        log.info("plan_repeated", partition=partition, first=plan.first, last=plan.last)
        try:
            await self.carry_out(partition, plan, records, epoch)
        except RowsRefused:
            await self.write(partition, records, epoch)

    async def write(self, partition: int, records: Sequence[ReadRecord], epoch: int) -> None:
        """Write records of one partition, in as many inserts as it takes. Raises OwnershipLost."""
        left, rows_max, probed = list(records), INSERT_ROWS_MAX, False
        while left:
            head = left[: min(head_length(left), rows_max)]
            planned = [record.planned for record in head]
            identities = [each.identity for each in planned if each.identity is not None]
            present = await self.patiently(lambda: self._table.present(identities), epoch) if identities else set()  # noqa: B023 - awaited before the next round
            plan = make_plan(planned, present, place=self.place_of(partition), first=self.marks[partition])
            taken = [record for record in head if record.offset <= plan.last]
            kept = [record.offset for record in kept_records(plan, planned)]
            if kept:
                await self._consumer.commit(partition, plan.first, encode_plan(plan), epoch=epoch)
            try:
                await self.carry_out(partition, plan, taken, epoch)
            except RowsRefused as refusal:
                if len(kept) > 1:
                    rows_max = max(1, len(taken) // 2)
                elif not probed:
                    await self.patiently(self._table.probe, epoch)
                    probed = True
                else:
                    log.warning("row_refused", partition=partition, offset=kept[0], code=refusal.code)
                    left = [given_up(record, refusal) if record.offset == kept[0] else record for record in left]
                continue
            left, rows_max, probed = left[len(taken) :], min(2 * rows_max, INSERT_ROWS_MAX), False

    async def carry_out(self, partition: int, plan: Plan, records: Sequence[ReadRecord], epoch: int) -> None:
        kept = {each.offset for each in kept_records(plan, [record.planned for record in records])}
        rows = [
            row_of(record.record, recorded_at_ms=record.timestamp_ms)
            for record in records
            if record.record is not None and record.offset in kept
        ]
        if rows:
            started_s = self._clock.monotonic_s()
            await self.patiently(lambda: self._table.insert(rows, token=plan.token), epoch)
            self._insert_seconds.observe(self._clock.monotonic_s() - started_s)
        await self.bury(partition, records)
        await self._consumer.commit(partition, plan.last + 1, "", epoch=epoch)
        self.marks[partition] = plan.last + 1
        self._rows.inc(len(rows))
        log.debug("rows_inserted", table=TABLE, partition=partition, rows=len(rows), last=plan.last)

    async def patiently(self, call: Callable[[], Awaitable[Answer]], epoch: int) -> Answer:
        """Call until ClickHouse answers, longer and longer apart. Raises OwnershipLost, RowsRefused."""

        async def asked() -> Answer:
            self._consumer.require(epoch)
            return await call()

        answer = await done_at_last(asked, CLICKHOUSE_BACKOFF, ClickHouseError, self.note_failure)
        self._blocked = None
        return answer

    def note_failure(self, error: ClickHouseError, pause_s: float) -> None:
        """Say what ClickHouse takes nothing for. Raises RowsRefused: no wait makes other rows of these."""
        if isinstance(error, RowsRefused):
            self._failures.labels(kind="rows").inc()
            raise error
        self._failures.labels(kind="insert").inc()
        reason = f"code {error.code}" if error.code else "it does not answer"
        self._blocked = Blocked(self._blocked.since_s if self._blocked else self._clock.monotonic_s(), reason)
        self.show_lag()
        log.warning("clickhouse_unavailable", error=type(error).__name__, code=error.code, again_in_s=pause_s)

    async def bury(self, partition: int, records: Sequence[ReadRecord]) -> None:
        for record in records:
            if record.record is not None:
                continue
            if record.reason != ROW_REFUSED:
                self._failures.labels(kind="decode").inc()
            await self._dead_letters.write(
                reason=record.reason,
                message=record.message,
                topic=self._consumer.topic,
                partition=partition,
                offset=record.offset,
                key=record.key,
                value=record.value,
            )

    def place_of(self, partition: int) -> str:
        return f"{self._consumer.topic}/{partition}"

    def show_lag(self) -> None:
        self._lag.set(self._consumer.backlog(self.marks))


def read_record(record: Any) -> ReadRecord:
    """Decode a record of the log; one that can't be a row says why."""
    place = (record.offset, record.timestamp, record.key, record.value)
    if record.value is None:
        return ReadRecord(*place, None, "malformed", "has no value")
    try:
        decoded = decode_record(record.value)
    except MalformedRecord as error:
        return ReadRecord(*place, None, error.code, str(error))
    fault = fault_of(decoded)
    if fault is not None:
        return ReadRecord(*place, None, "invalid_field", f"{fault} is out of range")
    return ReadRecord(*place, decoded)


def given_up(record: ReadRecord, refusal: RowsRefused) -> ReadRecord:
    """As a record that does not decode: it becomes a dead letter and no row."""
    return replace(
        record, record=None, reason=ROW_REFUSED, message=f"ClickHouse refuses its row: {refusal} (code {refusal.code})"
    )


def head_length(records: Sequence[ReadRecord]) -> int:
    """How many of the first records make one insert; at least one."""
    size = 0
    for count, record in enumerate(records[:INSERT_ROWS_MAX]):
        size += len(record.value or b"")
        if size > INSERT_BYTES_MAX and count:
            return count
    return min(len(records), INSERT_ROWS_MAX)
