"""The exact writer on a real broker and the real embedded engine, while one or the other fails.

Covers: processors.analytics.turn_table.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec
import pytest

from infra.clickhouse.errors import ClickHouseUnavailable
from infra.embedded.broker import EmbeddedBroker
from infra.telemetry.metric_names import ANALYTICS_INSERT_SECONDS, ANALYTICS_LAG_RECORDS, ANALYTICS_ROWS
from processors.analytics.decisions.analytics_rows import RowIdentity
from processors.analytics.turn_table import TurnTable
from schemas.records import TurnRecord
from tests.fakes.recorded_attempts import recorded_attempts
from tests.integration.analytics_fixture import (
    ForgetfulTable,
    TableBetween,
    WriterParts,
    analytics_settings,
    are_there,
    attempt_records,
    expected,
    publish,
    stored,
    until,
    writing,
)

__all__: list[str] = []

REPOSITORY = Path(__file__).resolve().parents[2]


async def settled(parts: WriterParts) -> None:
    """Until every record of the log is committed."""

    async def no_lag() -> bool:
        marks = parts.writer.marks
        return len(marks) == 12 and parts.metrics.gauge(ANALYTICS_LAG_RECORDS)._value.get() == 0 and caught_up(parts)

    await until(no_lag, "the writer reaches the end of the log")


def caught_up(parts: WriterParts) -> bool:
    consumer = parts.consumer.consumer
    ends = {place: consumer.highwater(place) for place in consumer.assignment()}
    return all(end is not None and parts.writer.marks[place.partition] >= end for place, end in ends.items() if end)


async def test_records_become_rows_once_though_sent_twice(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Every part is one row, though its writer sent some again; the view joins parts and keeps exact values."""
    settings = analytics_settings(tmp_path, broker.bootstrap_servers)
    records = attempt_records("twice", 40, parts=3)
    await publish(settings, [*records, *records[10:40]])

    async with writing(settings) as parts:
        await until(partial(are_there, parts, "twice", records), "all rows")
        await publish(settings, records[:5])
        await settled(parts)
        rows = await stored(parts.connection, "twice")
        turn = await parts.connection.query(
            "SELECT text, texts, gaps_us, parts, toUnixTimestamp64Micro(accepted_at), ttft_ms, toString(cost_usd), "
            "dequeued_at, output_tokens FROM tokenwire.turn_streams WHERE user = 'twice' AND turn = 'twice-t7'"
        )
        count = await parts.connection.query("SELECT count(), uniq(turn) FROM tokenwire.turns WHERE user = 'twice'")

    assert rows == expected(records)
    assert count[0] == (40, 40)
    texts = [text for part in range(3) for text in (f"piece {part} ", "é\n'\\\t")]
    assert turn == [
        (
            "".join(texts),
            texts,
            [12_345, 17, 12_346, 17, 12_347, 17],
            3,
            1_790_000_000_000_008,
            12.345,
            "0.001234567",
            None,
            6,
        )
    ]


async def test_outcome_behind_a_part_of_a_replaced_worker(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """A part that the log does not count has the outcome's number, or a later one: the attempt is one row of `turns`
    with its own text; where its outcome comes again, cut elsewhere, it is not there twice."""
    settings = analytics_settings(tmp_path, broker.bootstrap_servers)
    first, second, last = attempt_records("replaced", 1, parts=3)
    stray = msgspec.structs.replace(last, outcome=None, texts=("nobody ", "counts this"))
    cut_elsewhere = msgspec.structs.replace(last, part=3, seq=6, texts=(), gaps_us=())
    await publish(settings, [first, second, stray])

    async with writing(settings) as parts:
        await settled(parts)
        await publish(settings, [first, second, last, msgspec.structs.replace(stray, part=3)])
        await settled(parts)
        later = attempt_records("replaced-later", 1)
        await publish(settings, [cut_elsewhere, *later])
        await until(partial(are_there, parts, "replaced-later", later), "all rows")
        await settled(parts)
        rows = await parts.connection.query(
            "SELECT text, texts, gaps_us, parts, cost_nano_usd FROM tokenwire.turn_streams WHERE user = 'replaced'"
        )
        kept = await stored(parts.connection, "replaced")

    texts = [*first.texts, *second.texts, *last.texts]
    gaps_us = [*first.gaps_us, *second.gaps_us, *last.gaps_us]
    assert rows == [("".join(texts), texts, gaps_us, 3, 1_234_567)]
    assert recorded_attempts([first, second, stray, last, cut_elsewhere])["replaced-t0", 1, "r1"].text == "".join(texts)
    assert [part for _, part, _ in kept] == [0, 1, 2, 2, 3]


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_writer_killed_between_plan_and_commit(broker: EmbeddedBroker, tmp_path: Path, moment: str) -> None:
    """kill -9 before or right after an insert: the next writer repeats exactly the plan, and the counts are exact."""
    user = f"killed-{moment}"
    settings = analytics_settings(tmp_path, broker.bootstrap_servers)
    records = attempt_records(user, 60)
    await publish(settings, records)
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.integration.analytics_child",
        str(tmp_path),
        broker.bootstrap_servers,
        moment,
        cwd=REPOSITORY,
    )
    assert await asyncio.wait_for(child.wait(), 60) == -signal.SIGKILL
    await publish(settings, attempt_records(f"{user}-later", 10))

    async with writing(settings) as parts:
        await settled(parts)
        rows = await stored(parts.connection, user)
        later = await stored(parts.connection, f"{user}-later")

    assert rows == expected(records)
    assert len(later) == 10


async def test_lost_answers_of_clickhouse(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """An insert whose answer is lost is repeated under the same token and counts once."""
    settings = analytics_settings(tmp_path, broker.bootstrap_servers)
    records = attempt_records("lost-answer", 25)
    tables: list[ForgetfulTable] = []

    def forgetful(table: TurnTable) -> TurnTable:
        tables.append(ForgetfulTable(table, lost=2))
        return tables[0]

    await publish(settings, records)
    async with writing(settings, around=forgetful) as parts:
        await settled(parts)
        rows = await stored(parts.connection, "lost-answer")
        counted = parts.metrics.counter(ANALYTICS_ROWS).labels(table="turns")._value.get()
        inserts = parts.metrics.registry.get_sample_value(f"{ANALYTICS_INSERT_SECONDS.name}_count")

    assert inserts
    assert tables[0].tokens[0] == tables[0].tokens[1]
    assert rows == expected(records)
    assert counted >= len(records)


class AwayTable(TableBetween):
    """Unreachable until told otherwise."""

    def __init__(self, table: TurnTable) -> None:
        super().__init__(table)
        self.back = asyncio.Event()
        self.calls = 0

    async def present(self, identities: Sequence[RowIdentity]) -> set[RowIdentity]:
        self.calls += 1
        if not self.back.is_set():
            raise ClickHouseUnavailable("connection refused")
        return await super().present(identities)


async def test_clickhouse_away_and_back(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """While ClickHouse is away nothing more is polled; when it is back every record becomes a row."""
    settings = analytics_settings(tmp_path, broker.bootstrap_servers)
    records = attempt_records("away", 30)
    tables: list[AwayTable] = []

    def away(table: TurnTable) -> TurnTable:
        tables.append(AwayTable(table))
        return tables[0]

    await publish(settings, records)
    async with writing(settings, around=away) as parts:

        async def tried_again() -> bool:
            return tables[0].calls >= 2

        await until(tried_again, "a second attempt")
        assert parts.metrics.gauge(ANALYTICS_LAG_RECORDS)._value.get() > 0
        tables[0].back.set()
        await settled(parts)
        rows = await stored(parts.connection, "away")

    assert rows == expected(records)


async def test_second_writer_joins_while_writing(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Partitions move to another member in the middle; what was under way is dropped, repeated, and counts once."""
    settings = analytics_settings(tmp_path, broker.bootstrap_servers)
    records = attempt_records("moving", 200)
    async with writing(settings) as first:
        publishing = asyncio.create_task(publish(settings, records))
        async with writing(settings, connection=first.connection) as second:

            async def shared() -> bool:
                return bool(first.consumer.consumer.assignment()) and bool(second.consumer.consumer.assignment())

            await until(shared, "both members own partitions")
            await publishing
            await until(partial(are_there, first, "moving", records), "all rows")
        await settled(first)
        rows = await stored(first.connection, "moving")

    assert rows == expected(records)


async def test_undecodable_records_are_buried(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Bytes that are no record go to the dead letters, and the records behind them become rows."""
    settings = analytics_settings(tmp_path, broker.bootstrap_servers)
    records = attempt_records("behind", 12)
    negative = TurnRecord(user="behind", session="s0", turn="x", attempt=1, run="r", prompt_id="p", gaps_us=(-1,))
    await publish(settings, [b"{not json", *records[:6], b'{"type":"record.new"}', negative, *records[6:]])

    async with writing(settings) as parts:
        await settled(parts)
        rows = await stored(parts.connection, "behind")
        exposition = parts.metrics.exposition().decode()

    assert rows == expected(records)
    for reason in ("malformed", "unknown_type", "invalid_field"):
        assert f'tokenwire_worker_dead_letters_total{{reason="{reason}"}} 1.0' in exposition
