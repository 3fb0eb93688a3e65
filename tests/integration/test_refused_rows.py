"""What ClickHouse refuses: a row for what it holds, or everything because nothing fits any more; on the real engine.

Covers: infra.clickhouse.decisions.row_refusals.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from infra.clickhouse.decisions.row_refusals import ROW_REFUSALS
from infra.embedded.broker import EmbeddedBroker
from infra.kafka.log_client import LogClient
from infra.settings import Settings
from infra.telemetry.metric_names import ANALYTICS_BLOCKED_SECONDS, ANALYTICS_FAILURES
from infra.telemetry.metrics import Metrics
from processors.analytics.decisions.analytics_rows import Row
from processors.analytics.turn_table import TurnTable
from schemas.codec import decode_dead_letter
from schemas.dead_letters import DeadLetter
from tests.fakes.topic_names import DEAD_LETTERS
from tests.integration.analytics_fixture import (
    TableBetween,
    analytics_settings,
    are_there,
    attempt_records,
    opened,
    publish,
    until,
    writing,
)

__all__: list[str] = []

TABLE: Final = "tokenwire.turn_parts"
HINDRANCES: Final = {
    252: ("parts_to_throw_insert = 1", "parts_to_throw_insert"),
    243: ("min_free_disk_bytes_to_perform_insert = 1000000000000000", "min_free_disk_bytes_to_perform_insert"),
}
"""ClickHouse's code, the table's setting that provokes it, and its name."""


async def letters_of(settings: Settings, user: str) -> list[DeadLetter]:
    reader = LogClient(settings, role="test")
    await reader.start()
    try:
        end = await reader.end(DEAD_LETTERS, 0)
        found = [
            decode_dead_letter(record.value or b"")
            async for records in reader.read(DEAD_LETTERS, 0, 0, end)
            for record in records
        ]
    finally:
        await reader.stop()
    return [letter for letter in found if letter.user == user]


class SilentTable(TableBetween):
    """Never answers an insert."""

    def __init__(self, table: TurnTable) -> None:
        super().__init__(table)
        self.asked = asyncio.Event()

    async def insert(self, rows: Sequence[Row], *, token: str) -> None:
        self.asked.set()
        await asyncio.Event().wait()


async def test_codes_have_the_engines_own_names(tmp_path: Path) -> None:
    """A number that was written down wrongly would give rows up for something else."""
    async with opened(analytics_settings(tmp_path, "127.0.0.1:1")) as connection:
        rows = await connection.query(
            "SELECT code, errorCodeToName(code) FROM (SELECT arrayJoin({codes:Array(UInt16)}) AS code)",
            {"codes": list(ROW_REFUSALS)},
        )

    assert {row[0]: row[1] for row in rows} == ROW_REFUSALS


async def test_row_that_is_refused_for_what_it_holds(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Found among others, also where the writer that planned its batch has died: it alone becomes a dead letter."""
    settings = analytics_settings(tmp_path, broker.bootstrap_servers)
    records = attempt_records("sound", 60)
    records[30] = msgspec.structs.replace(records[30], turn="x\x00\t\n\\'\"`é😀", run="{r:String}')--")
    secret = "a word that nobody else may read"
    bad = [
        msgspec.structs.replace(record, user="unsound", turn=f"bad-{record.turn}", texts=(secret,), gaps_us=(1,))
        for record in attempt_records("unsound", 2)
    ]
    await publish(settings, [*records[:20], bad[0], *records[20:40], bad[1], *records[40:]])
    async with opened(settings) as connection:
        await connection.command(f"ALTER TABLE {TABLE} ADD CONSTRAINT sound CHECK user != 'unsound'")
        tables: list[SilentTable] = []

        def silent(table: TurnTable) -> TurnTable:
            tables.append(SilentTable(table))
            return tables[0]

        async with writing(settings, connection=connection, around=silent):
            await asyncio.wait_for(tables[0].asked.wait(), 60)
        async with writing(settings, connection=connection) as parts:
            await until(partial(are_there, parts, "sound", records), "every sound row")

            async def all_told() -> bool:
                return len(await letters_of(settings, "unsound")) >= len(bad)

            await until(all_told, "both dead letters")
            exposition = parts.metrics.exposition().decode()
            obstacle = parts.writer.obstacle()
        nobody = await connection.query(f"SELECT count() FROM {TABLE} WHERE user = ''")
        shown = await connection.query("SELECT countIf(user = ''), countIf(user = 'unsound') FROM tokenwire.turns")
    letters = await letters_of(settings, "unsound")

    assert sorted(letter.reason for letter in letters) == ["row_refused", "row_refused"]
    assert {letter.message for letter in letters} == {"ClickHouse refuses its row: VIOLATED_CONSTRAINT (code 469)"}
    assert 'tokenwire_worker_dead_letters_total{reason="row_refused"} 2.0' in exposition
    assert obstacle == ""
    assert nobody == [(1,)]
    assert shown == [(0, 0)]


async def test_table_that_takes_nothing(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Of R24: too many parts, no disk space, a table that refuses every row for what it holds, or that is gone. Records
    wait, and readiness and a metric say so. No row is given up, and each comes once the table takes rows again."""
    settings = analytics_settings(tmp_path, broker.bootstrap_servers)
    hindrances = {
        code: (f"ALTER TABLE {TABLE} MODIFY SETTING {value}", f"ALTER TABLE {TABLE} RESET SETTING {name}")
        for code, (value, name) in HINDRANCES.items()
    }
    hindrances[469] = (
        f"ALTER TABLE {TABLE} ADD CONSTRAINT nothing CHECK 0",
        f"ALTER TABLE {TABLE} DROP CONSTRAINT nothing",
    )
    hindrances[60] = (f"RENAME TABLE {TABLE} TO tokenwire.away", f"RENAME TABLE tokenwire.away TO {TABLE}")
    first = attempt_records("waits", 1)
    await publish(settings, first)
    async with opened(settings) as connection, writing(settings, connection=connection) as parts:
        await until(partial(are_there, parts, "waits", first), "the first row")
        await connection.command("SYSTEM STOP MERGES")
        for code, (hinder, mend) in hindrances.items():
            user = f"waits-{code}"
            records = attempt_records(user, 3)
            await connection.command(hinder)
            await publish(settings, records)

            async def blocked(wanted: str = f"code {code}") -> bool:
                return wanted in parts.writer.obstacle()

            await until(blocked, f"the writer waits for {code}")
            assert value_of(parts.metrics) > 0
            await connection.command(mend)
            await until(partial(are_there, parts, user, records), f"rows after {code}")
            assert parts.writer.obstacle() == ""
            assert value_of(parts.metrics) == 0
            assert await letters_of(settings, user) == []
        refused = parts.metrics.counter(ANALYTICS_FAILURES).labels(kind="rows")._value.get()

    assert refused > 0


def value_of(metrics: Metrics) -> float:
    found = metrics.registry.get_sample_value(ANALYTICS_BLOCKED_SECONDS.name)
    assert found is not None
    return found
