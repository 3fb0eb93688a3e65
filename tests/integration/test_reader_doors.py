"""Row S13: nothing that a reader sends opens, writes or names a file of this machine.

A canary file stands for the secrets. Each known way to it is tried, as a setting of the address and as a SETTINGS
clause, bare and inside subqueries, views, WITH, EXPLAIN; then every string setting, function, table function and
format of the engine's own lists. CI takes a sample of those; `make test-doors` takes them all.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TypeVar

import aiohttp
import pytest
import pytest_asyncio

from infra.clickhouse.connection import ClickHouseConnection
from infra.clickhouse.decisions.reader_access import token_digest
from infra.clickhouse.embedded_reader import EmbeddedReader, ReaderLimits
from infra.clickhouse.migrate import migrate
from infra.clickhouse.reader_token import reader_headers, reader_token
from infra.embedded.clickhouse_http import ClickHouseEndpoint
from infra.settings import load_settings

__all__: list[str] = []

T = TypeVar("T")

CANARY = "CANARY-7f3a9c"
SAMPLE = None if os.environ.get("TOKENWIRE_DOORS") == "full" else 60
"""Cases of each list that CI tries, spread over it; None: all."""

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True, slots=True)
class Doors:
    """An endpoint, and a folder with a canary that nobody may read, beside which nothing may appear."""

    url: str
    http: aiohttp.ClientSession
    folder: Path

    @property
    def canary(self) -> str:
        return str(self.folder / "canary.txt")

    async def ask(self, sql: str, **parameters: str) -> tuple[int, str]:
        """Status and body; the canary may not be in it, and the folder stays as it is."""
        filled = {name: self.filled(value) for name, value in parameters.items()}
        async with self.http.post(self.url, params=filled, data=self.filled(sql).encode()) as response:
            body = (await response.read()).decode(errors="replace")
            found = response.status, body + str(response.headers)
        assert CANARY not in found[1], (sql, parameters)
        assert taken(self.folder) == {"canary.txt": f"{CANARY}\n"}, (sql, parameters)
        return found

    async def column(self, sql: str) -> list[str]:
        status, body = found = await self.ask(f"{sql} FORMAT JSONEachRow")
        assert status == 200, found
        return [line.split('"')[3] for line in body.splitlines() if line.startswith("{") and '"n"' in line]

    def filled(self, text: str) -> str:
        return text.replace("CANARY", self.canary).replace("NEW", str(self.folder / "written"))


def taken(folder: Path) -> dict[str, str]:
    """What lies in the folder; a file that was written is taken away, so that the next question starts clean."""
    found = {path.name: path.read_text(encoding="utf-8", errors="replace") for path in folder.iterdir()}
    for name in found.keys() - {"canary.txt"}:
        (folder / name).unlink()
    return found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def doors(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Doors]:
    home, folder = tmp_path_factory.mktemp("engine"), tmp_path_factory.mktemp("secrets")
    (folder / "canary.txt").write_text(f"{CANARY}\n", encoding="utf-8")
    settings = load_settings({}, home=home, analytics_port=0, analytics_query_s=5)
    connection = ClickHouseConnection(settings)
    await connection.open()
    await migrate(connection)
    reader, token = EmbeddedReader(connection.files, ReaderLimits(query_s_max=5)), reader_token(home)
    endpoint = ClickHouseEndpoint(reader, 0, lambda: token_digest(token))
    await endpoint.start()
    try:
        async with aiohttp.ClientSession(headers=reader_headers(token)) as http:
            yield Doors(f"http://127.0.0.1:{endpoint.port}/", http, folder)
    finally:
        await endpoint.stop()
        await connection.close()


READ = "throwIf(1, file('CANARY'))"
SETTINGS = {
    "format_template_row": ("SELECT 1 AS a FORMAT Template", "CANARY"),
    "format_template_resultset": ("SELECT 1 AS a FORMAT Template", "CANARY"),
    "format_schema": ("SELECT 1 AS a FORMAT Protobuf", "CANARY:a"),
    "output_format_schema": ("SELECT 1 AS a FORMAT Protobuf", "NEW"),
    "input_format_record_errors_file_path": ("SELECT * FROM format(CSV, 'a Int8', 'x')", "NEW"),
    "additional_result_filter": ("SELECT 1 AS a", READ),
    "additional_table_filters": (
        "SELECT * FROM system.one",
        f"{{'system.one': '{READ.replace(chr(39), chr(92) * 2 + chr(39))}'}}",
    ),
    "dialect": ("from tokenwire.turns", "prql"),
    "parallel_replicas_custom_key": ("SELECT 1", READ),
    "implicit_select": ("file('CANARY')", "1"),
}


@pytest.mark.parametrize("name", SETTINGS)
async def test_S13_settings_that_name_files_or_hold_sql_are_refused(doors: Doors, name: str) -> None:
    """By name, in the address and in the text, outside and inside."""
    sql, value = SETTINGS[name]
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    clause = f"SETTINGS {name} = '{quoted}'"
    inner = f"SELECT * FROM (SELECT 1 AS a {clause})"
    asked = [
        await doors.ask(sql, **{name: value}),
        *[await doors.ask(text) for text in (f"{sql} {clause}", inner, f"EXPLAIN {inner}", f"DESCRIBE ({inner})")],
        await doors.ask(f"WITH c AS ({inner}) SELECT * FROM c"),
        await doors.ask(f"SELECT * FROM view({inner})"),
    ]

    assert [status for status, _ in asked if status < 400] == []
    assert name in asked[0][1]
    assert name in asked[2][1]


READING = (
    "file('CANARY')",
    "(SELECT file('CANARY'))",
    "arrayMap(x -> file(x), ['CANARY'])",
    "arrayMap(file, ['CANARY'])",
    "arrayMap({f:Identifier}, ['CANARY'])",
    "upper(`file`('CANARY'))",
    "(WITH file AS f SELECT arrayMap(f, ['CANARY']))",
    "(SELECT * APPLY file FROM (SELECT 'CANARY'))",
    "(SELECT * APPLY (x -> file(x)) FROM (SELECT 'CANARY'))",
    "(SELECT * REPLACE (file('CANARY') AS a) FROM (SELECT 'x' AS a))",
    "(SELECT a FROM format(JSONEachRow, 'a String DEFAULT file(\\'CANARY\\')', '{}'))",
    "(SELECT a FROM format(LineAsString, 'a String', file('CANARY')))",
    "(SELECT a FROM values('a String DEFAULT file(\\'CANARY\\')', ('a')))",
    "(SELECT b FROM values(concat('a String, b String ALIAS fi', 'le(\\'CANARY\\')'), ('a')))",
    "(SELECT a FROM generateRandom('a String DEFAULT file(\\'CANARY\\')') LIMIT 1)",
    "(SELECT a FROM file('CANARY', LineAsString, 'a String'))",
    "(SELECT * FROM eval('SELECT file(\\'CANARY\\')'))",
    "(SELECT * FROM loop(file('CANARY', LineAsString)) LIMIT 1)",
    "(SELECT * FROM url('file://CANARY', LineAsString))",
    "(SELECT * FROM viewIfPermitted(SELECT file('CANARY') ELSE null('a Int8')))",
    "(SELECT * FROM executable('cat CANARY', TSV, 'a String'))",
    "formatRow('Template', 1)",
    "1 IN file('CANARY')",
)
AROUND = (
    "SELECT {}",
    "EXPLAIN SELECT {}",
    "EXPLAIN SYNTAX SELECT {}",
    "DESCRIBE (SELECT {} AS a)",
    "SELECT * FROM view(SELECT {} AS a)",
    "WITH c AS (SELECT {} AS a) SELECT * FROM c",
    "SELECT 1 UNION ALL SELECT 2 WHERE {} = 'x'",
    "SELECT 1 FROM system.one ORDER BY {} LIMIT 1",
)


@pytest.mark.parametrize("reading", READING)
async def test_S13_no_expression_reads_a_file(doors: Doors, reading: str) -> None:
    """Wherever it stands in a statement, and refused before anything runs."""
    for around in AROUND:
        status, body = await doors.ask(around.replace("{}", reading), param_f="file")
        assert status >= 400, body


async def test_S13_string_settings_of_the_engine(doors: Doors) -> None:
    """Every setting whose value is text, by both ways, with text that would read or write."""
    known = await doors.column("SELECT name AS n FROM system.settings WHERE type IN ('String', 'Map') ORDER BY n")
    values = ("CANARY", "NEW", READ)
    outputs = ("TSV", "Template", "Protobuf", "CustomSeparated")
    assert len(known) > 50
    for name, value, output in sampled(product(known, values, outputs)):
        quoted = value.replace("'", "\\'")
        await doors.ask(f"SELECT 1 AS a FORMAT {output}", **{name: value})
        await doors.ask(f"SELECT 1 AS a FORMAT {output} SETTINGS {name} = '{quoted}'")


async def test_S13_functions_and_table_functions_of_the_engine(doors: Doors) -> None:
    """Every one, called with names of files and with structures that hold SQL."""
    tables = await doors.column("SELECT name AS n FROM system.table_functions ORDER BY n")
    functions = await doors.column("SELECT name AS n FROM system.functions ORDER BY n")
    structure = "'a String DEFAULT file(\\'CANARY\\')'"
    arguments = ("'CANARY'", "'CANARY', 'LineAsString'", f"'LineAsString', {structure}, 'x'", structure, "'NEW', 'a'")
    assert min(len(tables), len(functions)) > 50
    for name, given in sampled(product(tables, arguments)):
        await doors.ask(f"SELECT * FROM {name}({given}) LIMIT 1")
    for name, given in sampled(product(functions, arguments)):
        await doors.ask(f"SELECT `{name}`({given})")
        await doors.ask(f"SELECT arrayMap(`{name}`, ['CANARY'])")


async def test_S13_formats_of_the_engine(doors: Doors) -> None:
    """Every one as output, by the clause and by default, and as input of format()."""
    for name in sampled(await doors.column("SELECT name AS n FROM system.formats ORDER BY n")):
        await doors.ask(f"SELECT 1 AS a FORMAT {name}")
        await doors.ask("SELECT 1 AS a", default_format=name)
        await doors.ask(f"SELECT * FROM format({name}, 'a String DEFAULT file(\\'CANARY\\')', '{{}}')")


def sampled(cases: Iterable[T]) -> list[T]:
    every = list(cases)
    return every if SAMPLE is None else every[:: -(-len(every) // SAMPLE)]


async def test_S13_what_drivers_send_by_themselves_is_taken(doors: Doors) -> None:
    """Settings above our limits are lowered, others have no effect, none stops a query."""
    sent = {
        "clickhouse-go": {"max_execution_time": "65", "default_format": "Native", "client_protocol_version": "54460"},
        "jdbc": {
            "max_execution_time": "300",
            "max_result_rows": "1000",
            "result_overflow_mode": "break",
            "extremes": "0",
            "default_format": "RowBinaryWithNamesAndTypes",
            "session_timezone": "UTC",
            "wait_end_of_query": "1",
        },
        "client-js": {"enable_http_compression": "1", "http_write_exception_in_output_format": "0", "query_id": "a"},
        "connect": {"date_time_input_format": "best_effort", "cast_string_to_dynamic_use_inference": "1"},
        "grafana": {"output_format_json_quote_denormals": "1", "max_memory_usage": "99000000000", "max_threads": "64"},
    }
    for driver, parameters in sent.items():
        status, body = await doors.ask("SELECT 1", **parameters)
        assert status == 200, (driver, body)


async def test_our_own_columns_need_no_table_before_them(doors: Doors) -> None:
    """No column of the analytics tables has the name of a refused function."""
    found = await doors.column("SELECT DISTINCT name AS n FROM system.columns WHERE database = 'tokenwire'")
    assert len(found) > 30

    bare = ", ".join(f"`{name}`" for name in found)
    made = ", ".join(f"1 AS `{name}`" for name in found)
    status, body = await doors.ask(f"SELECT {bare} FROM (SELECT {made})")

    assert status == 200, body
