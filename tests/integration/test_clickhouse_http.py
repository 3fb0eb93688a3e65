"""The read-only endpoint over the real engine: what clients can ask, and everything that is refused.

Covers: infra.clickhouse.embedded_reader, infra.clickhouse.queries.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from infra.clickhouse.connection import ClickHouseConnection
from infra.clickhouse.embedded_reader import EmbeddedReader, ReaderLimits, ReadRequest
from infra.clickhouse.errors import ClickHouseRefused, ClickHouseUnavailable, DataFolderInUse
from infra.clickhouse.queries import run_query
from infra.embedded.clickhouse_http import ClickHouseEndpoint
from infra.ports import PortTaken, find_free_port
from infra.settings import load_settings
from processors.analytics.decisions.analytics_rows import identity_of, row_of
from processors.analytics.turn_table import ClickHouseTurnTable
from tests.integration.analytics_fixture import attempt_records
from tests.integration.served_endpoint import QUERY_S, Served
from tokenwire.commands.up import with_token

__all__: list[str] = []

ENDLESS = "SELECT count() FROM numbers_mt(1000000000000) WHERE number % 7 = 3"


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    "value", ["x' OR '1'='1", "ann' --", "'); DROP TABLE turns; --", "{turn:String}", "ann\\' OR 1 --"]
)
async def test_S6_sql_in_a_parameter_is_a_value(served: Served, value: str) -> None:
    """A filter's value is compared, never read as SQL: no row, no error, and the table is there."""
    asked = "SELECT count() FROM turns WHERE user = {user:String} AND session = {session:String}"

    def bound() -> int:
        client = served.client()
        try:
            found = client.query(asked, parameters={"user": value, "session": value}).result_rows
            return int(found[0][0])
        finally:
            client.close()

    status, _, body = await served.ask(asked, param_user=value.replace("\\", "\\\\"), param_session="s")

    assert (status, body) == (200, "0\n")
    assert await asyncio.to_thread(bound) == 0
    assert (await served.ask("SELECT count() FROM turns"))[2] == "20\n"


async def test_clickhouse_connect_asks_with_typed_parameters(served: Served) -> None:
    """The usual Python client gets typed rows, binds parameters, streams and names columns."""

    def work() -> None:
        client = served.client()
        try:
            rows = client.query(
                "SELECT turn, texts, gaps_us, toString(accepted_at), ttft_ms FROM tokenwire.turn_streams "
                "WHERE user = {user:String} AND turn = {turn:String}",
                parameters={"user": "ann", "turn": "ann-t3"},
            ).result_rows
            assert rows == [
                (
                    "ann-t3",
                    ["piece 0 ", "é\n'\\\t"],
                    [12_345, 17],
                    "2026-09-21 14:13:20.000004",
                    12.345,
                )
            ]
            tricky = {"a": ["x'y", "\\t"], "s": "a\nb'c\\"}
            assert client.query("SELECT {a:Array(String)}, {s:String}", parameters=tricky).result_rows == [
                (["x'y", "\\t"], "a\nb'c\\")
            ]
            assert client.query("SELECT user FROM turns LIMIT 0").column_names == ("user",)
            assert client.query("SELECT 1 WHERE 0").result_rows == []
            with client.query_rows_stream("SELECT number FROM numbers(20000)") as stream:
                assert sum(1 for _ in stream) == 20_000
            assert client.command("SELECT count() FROM turns", settings={"max_threads": 1}) == 20
        finally:
            client.close()

    await asyncio.to_thread(work)


async def test_three_useful_questions(served: Served) -> None:
    """Latency per model and hour, cost per user today, slowest answers with retries: plain SQL on `turns`."""
    questions = (
        "SELECT model, toStartOfHour(accepted_at) AS hour, quantiles(0.5, 0.99)(ttft_ms) FROM turns "
        "GROUP BY model, hour ORDER BY hour",
        "SELECT user, sum(cost_usd) FROM turns WHERE accepted_at >= toDateTime64('2026-09-21', 6) GROUP BY user",
        "SELECT turn, attempt, dateDiff('millisecond', accepted_at, ended_at) AS took_ms FROM turns "
        "WHERE attempt >= 1 ORDER BY took_ms DESC LIMIT 3",
    )
    answers = [await served.ask(question) for question in questions]

    assert [status for status, _, _ in answers] == [200, 200, 200]
    assert answers[0][2] == "m1\t2026-09-21 14:00:00\t[12.345,12.345]\n"
    assert answers[1][2] == "ann\t0.02469134\n"


async def test_question_about_one_session_reads_by_key(served: Served) -> None:
    """Predicates on user, session and turn reach the table's key through the view, on both sides of its join."""
    plan = (await served.ask("EXPLAIN indexes = 1 SELECT text FROM turn_streams WHERE user = 'a' AND session = 'b'"))[2]

    assert plan.count("user = \\'a\\' AND session = \\'b\\'") == 2, plan


async def test_question_without_a_stream_joins_nothing(served: Served) -> None:
    """`turns` reads the rows with outcomes, once, and of them no column but those asked for."""
    plan = (await served.ask("EXPLAIN header = 1 SELECT model, count() FROM turns GROUP BY model"))[2]

    assert "Join" not in plan, plan
    assert plan.count("ReadFromMergeTree") == 1, plan
    assert "texts" not in plan, plan


REFUSED = {
    "INSERT INTO turn_parts (user) VALUES ('x')": "164",
    "CREATE TABLE x (a Int8) ENGINE = Memory": "164",
    "CREATE TEMPORARY TABLE x (a Int8)": "164",
    "DROP TABLE turn_parts": "164",
    "ALTER TABLE turn_parts DELETE WHERE 1": "164",
    "TRUNCATE TABLE turn_parts": "164",
    "RENAME TABLE turn_parts TO x": "164",
    "OPTIMIZE TABLE turn_parts": "164",
    "SYSTEM SHUTDOWN": "164",
    "KILL QUERY WHERE 1": "164",
    "USE system": "164",
    "SET readonly = 0": "164",
    "SELECT 1 SETTINGS readonly = 0": "164",
    "SELECT 1 SETTINGS max_execution_time = 0": "452",
    "SELECT 1 SETTINGS max_memory_usage = 0": "452",
    "SELECT * FROM file('/etc/passwd', LineAsString)": "497",
    "SELECT file('/etc/passwd')": "497",
    "SELECT /* */ `file` /**/ ('/etc/passwd')": "497",
    "SELECT * APPLY \"file\" FROM (SELECT '/etc/passwd')": "497",
    "SELECT arrayMap(file, ['/etc/passwd'])": "497",
    "SELECT * FROM url('http://127.0.0.1:1', CSV, 'a Int8')": "497",
    "SELECT * FROM url('file:///etc/passwd', LineAsString)": "497",
    "SELECT * FROM s3('http://127.0.0.1:1/bucket/x.csv', CSV, 'a Int8')": "497",
    "SELECT * FROM remote('127.0.0.1:1', system.one)": "497",
    "SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')": "497",
    "SELECT * FROM sqlite('FILE', 't')": "497",
    "SELECT * FROM filesystem('/etc')": "497",
    "SELECT * FROM icebergLocal('/tmp')": "497",
    "SELECT * FROM executable('id', TSV, 'a String')": "497",
    "SELECT * FROM Python(served)": "497",
    "SELECT * FROM system.users": "497",
    "SELECT 1 INTO OUTFILE 'FILE'": "164",
    "EXPLAIN SELECT 1 INTO OUTFILE 'FILE'": "164",
    "INSERT INTO FUNCTION file('FILE', CSV, 'a Int8') VALUES (1)": "164",
    "SELECT 1; SELECT 2": "62",
    "SELECT 1; DROP TABLE turn_parts": "62",
    "SELECT 1 PARALLEL WITH DROP TABLE turn_parts": "164",
    "EXPLAIN INSERT INTO turn_parts SELECT 1": "164",
    "EXPLAIN AST DROP TABLE turn_parts": "164",
    "SELECT 'not closed": "62",
    'SELECT "not closed': "62",
    "SELECT `not closed": "62",
    "SELECT 1 /* not closed": "62",
    "EXECUTE AS default SELECT 1": "164",
    "GRANT ALL ON *.* TO default": "164",
    "BACKUP TABLE turn_parts TO File('x')": "164",
    "ATTACH TABLE x": "164",
}


@pytest.mark.parametrize("sql", REFUSED)
async def test_anything_but_reading_is_refused(served: Served, sql: str, tmp_path: Path) -> None:
    """Refused with ClickHouse's own code, and the table is as it was; no file is written."""
    file = tmp_path / "written"
    status, code, body = await served.ask(sql.replace("FILE'", f"{file}'"))

    assert (status >= 400, code) == (True, REFUSED[sql]), body
    assert "root:" not in body
    assert (await served.ask("SELECT count() FROM turn_parts"))[2] == "20\n"
    assert not file.exists()


NAMED = {
    "SELECT 'not closed": "(SYNTAX_ERROR)",
    "SELECT nope": "(UNKNOWN_IDENTIFIER)",
    "DROP TABLE turns": "(READONLY)",
    "SELECT file('x')": "(ACCESS_DENIED)",
    "SELECT no_such_function(1)": "(UNKNOWN_FUNCTION)",
    "SELECT 1 FORMAT Protobuf": "(UNKNOWN_FORMAT)",
    "SELECT * FROM nope": "(UNKNOWN_TABLE)",
}


@pytest.mark.parametrize("sql", NAMED)
async def test_errors_end_with_their_names(served: Served, sql: str) -> None:
    """As ClickHouse's do, once, whoever refused: drivers take the error's type from there."""
    _, code, body = await served.ask(sql)

    assert body.startswith(f"Code: {code}. DB::Exception: ")
    assert body.endswith(f" {NAMED[sql]}\n")
    assert body.count(NAMED[sql]) == 1


async def test_settings_of_the_address_keep_the_walls(served: Served) -> None:
    """Harmless settings work, limits can be lowered but not lifted, readonly stays."""
    assert (await served.ask("SELECT getSetting('max_threads')", max_threads="1"))[2] == "1\n"
    assert (await served.ask("SELECT 1", readonly="0"))[1] == "164"
    for above in ("999", "0"):
        asked = await served.ask("SELECT getSetting('max_execution_time')", max_execution_time=above)
        assert asked[2] == f"{QUERY_S:g}\n"
    assert (await served.ask("SELECT 1", no_such_setting="1"))[1] == "115"
    assert (await served.ask("SELECT count() FROM tokenwire.turns", database="default"))[2] == "20\n"
    assert (await served.ask("SELECT 1", database="nowhere"))[1] in ("81", "497")
    assert (await served.ask("SELECT {p:String}", param_p="a\\tb"))[2] == "a\\tb\n"
    assert (await served.ask("SELECT 1 AS x", default_format="JSONEachRow"))[2] == '{"x":1}\n'


async def test_endless_query_ends_and_inserts_go_on(served: Served) -> None:
    """A query stops at its limit, and meanwhile the writer's inserts are not held up."""
    asking = asyncio.create_task(served.ask(ENDLESS))
    await asyncio.sleep(0.2)
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    row = row_of(attempt_records("bob", 1)[0], recorded_at_ms=1_790_000_000_000)
    await ClickHouseTurnTable(served.connection).insert([row], token="beside")
    took_s = loop.time() - began_s
    still_running = not asking.done()
    status, code, _ = await asking
    await served.connection.command(
        "ALTER TABLE tokenwire.turn_parts DELETE WHERE user = 'bob' SETTINGS mutations_sync=1"
    )

    assert still_running
    assert took_s < 1
    assert (status, code) == (408, "159")


async def test_query_of_a_client_that_left_is_killed(served: Served) -> None:
    """A closed connection ends its query; its place is free again."""
    async with served.session() as session:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(session.get(served.url, params={"query": ENDLESS}), 0.3)
    async with asyncio.timeout(QUERY_S - 0.5):
        while served.endpoint.reader.running:  # noqa: ASYNC110 - emptied from another thread
            await asyncio.sleep(0.02)


async def test_too_many_queries_at_once_are_told_so(served: Served) -> None:
    """Two run, two wait, the fifth is refused at once with a code that clients know."""
    asking = [asyncio.create_task(served.ask(ENDLESS)) for _ in range(4)]
    while served.endpoint.reader.waiting < 2:  # noqa: ASYNC110 - the requests are on their way
        await asyncio.sleep(0.02)
    status, code, _ = await served.ask("SELECT 1")
    answers = await asyncio.gather(*asking)

    assert (status, code) == (503, "202")
    assert {answer[1] for answer in answers} <= {"159", "202"}


async def test_memory_of_all_queries_together_is_limited(served: Served) -> None:
    """Four that may each have a GiB don't fit: some are ended, in the engine's words, and what is small goes on."""
    limits = ReaderLimits(query_s_max=QUERY_S, queries_max=4)
    reader = EmbeddedReader(served.connection.files, limits)
    held = "(SELECT groupArray(repeat('x', 1000000)) FROM numbers(450))"
    large = f"SELECT count(), length({held}) FROM numbers_mt(1000000000000) WHERE number % 7 = 3"
    ended: list[object] = []
    try:
        while not any("User memory limit" in str(error) for error in ended):  # a slow machine may run out of time first
            asking = [asyncio.create_task(reader.read(ReadRequest(sql=large))) for _ in range(4)]
            await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            small = await served.ask("SELECT count() FROM turns")
            ended = await asyncio.gather(*asking, return_exceptions=True)
    finally:
        await reader.stop()
    lifted = await served.ask("SELECT 1 SETTINGS max_memory_usage_for_user = 0")

    assert small[::2] == (200, "20\n")
    assert lifted[0] == 403


async def test_answer_above_the_limit(served: Served) -> None:
    """Too large an answer is refused whole, streamed format or not, with what to do about it."""
    for output in ("TSV", "Native", "JSON"):
        status, code, body = await served.ask(f"SELECT repeat('x', 1000) FROM numbers(5000) FORMAT {output}")

        assert (status, code) == (413, "396")
        assert "LIMIT" in body


async def test_query_command_prints_a_table_or_json(served: Served) -> None:
    """`tokenwire query` gets a table for people, JSON lines with --json, and clear errors."""
    table = await run_query(served.settings, "SELECT user, count() AS n FROM turns GROUP BY user;")
    lines = await run_query(served.settings, "SELECT user, count() AS n FROM turns GROUP BY user", as_json=True)
    with pytest.raises(ClickHouseRefused, match="Unknown table") as unknown:
        await run_query(served.settings, "SELECT * FROM nope")
    with pytest.raises(ClickHouseRefused, match="Only reading"):
        await run_query(served.settings, "DROP TABLE turns")
    nobody = load_settings({}, home=served.folder, analytics_port=find_free_port())
    with pytest.raises(ClickHouseUnavailable, match="TOKENWIRE_ANALYTICS_PORT"):
        await run_query(nobody, "SELECT 1")

    assert "ann" in table
    assert "┌" in table
    assert lines == '{"user":"ann","n":20}\n'
    assert unknown.value.code == 60


async def test_taken_port_is_named(served: Served) -> None:
    """A taken port names the setting that moves it."""
    second = ClickHouseEndpoint(served.endpoint.reader, served.endpoint.port, served.endpoint.digest)
    with pytest.raises(PortTaken, match="TOKENWIRE_ANALYTICS_PORT"):
        await second.start()


async def test_client_error_type_is_the_drivers_own(served: Served) -> None:
    """clickhouse-connect raises its own error with ClickHouse's code."""

    def work() -> None:
        client = served.client()
        try:
            with pytest.raises(DatabaseError, match="inserts are refused"):
                client.insert("turn_parts", [["x"]], column_names=["user"])
        finally:
            client.close()

    await asyncio.to_thread(work)


async def test_servers_connection_speaks_http_to_the_endpoint(served: Served) -> None:
    """The connection for an existing server finds a batch of rows by identity over HTTP, and hears refusals."""
    identities = [identity_of(record) for record in attempt_records("ann", 300)]
    address = with_token(f"{served.url}tokenwire", served.token)
    remote = ClickHouseConnection(load_settings({}, home=served.folder, clickhouse=address))
    await remote.open()
    try:
        present = await ClickHouseTurnTable(remote).present(identities)
        with pytest.raises(ClickHouseUnavailable):
            await remote.command("CREATE DATABASE x")
    finally:
        await remote.close()

    assert present == set(identities[:20])


async def test_second_owner_of_the_folder_is_told_so(served: Served) -> None:
    """The engine allows one process; the sentence names the setting."""
    with pytest.raises(DataFolderInUse, match="TOKENWIRE_HOME"):
        await ClickHouseConnection(served.settings).open()
