"""`tokenwire reader` beside a writer at work: what it sees and when, what it can't do, what its end does to others.

Covers: infra.clickhouse.notice_writing, infra.clickhouse.reader_engine, infra.clickhouse.readers_notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio

from infra.clickhouse.decisions.reader_tables import OLD_PARTS_S_MIN, ReadersNotice
from infra.clickhouse.reader_token import TOKEN_PLACE, reader_headers, reader_token
from infra.clickhouse.readers_notice import notice_path
from infra.ports import find_free_port, is_port_free
from tests.integration.process_probe import other_server_on
from tests.integration.reader_line import ReaderProcess, Writer, reader_process, start, writer

__all__: list[str] = []

SEEN_S = 60.0
SECRETS = {"OPENAI_API_KEY": "sk-canary-key", "TOKENWIRE_AUTH_SECRET": "canary-" * 6, "KAFKA_CANARY": "canary-value"}
COUNT = "SELECT count() FROM turns"

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def written(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Writer]:
    async with writer(tmp_path_factory.mktemp("reader")) as found:
        await found.insert("ann", 20)
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def readers(written: Writer) -> AsyncIterator[ReaderProcess]:
    """Started before the writer has told of its tables."""
    async with reader_process(written.home, meanwhile=written.tell, **SECRETS) as found:
        yield found


async def until_seen(readers: ReaderProcess, sql: str, wanted: str) -> None:
    async with asyncio.timeout(SEEN_S):
        while (await readers.ask(sql)) != (200, wanted):  # noqa: ASYNC110 - a part appears without a word
            await asyncio.sleep(0.05)


async def test_ends_while_it_waits_for_the_writer(tmp_path: Path) -> None:
    """Started where no writer has been, it says so and listens nowhere; told to stop, it ends with 0."""
    port = find_free_port()
    waiting = await start(tmp_path, TOKENWIRE_ANALYTICS_PORT=str(port))
    assert waiting.stdout is not None
    said = await asyncio.wait_for(waiting.stdout.readline(), SEEN_S)
    free = is_port_free(port)
    waiting.terminate()

    assert b"tokenwire analytics" in said
    assert free
    assert await asyncio.wait_for(waiting.wait(), SEEN_S) == 0


async def test_new_parts_are_seen_beside_inserts_and_merges(written: Writer, readers: ReaderProcess) -> None:
    """No query fails meanwhile, no count goes back, and the last row is there soon after its insert."""
    counts: list[int] = []
    writing = asyncio.create_task(insert_and_merge(written, counts))
    while not writing.done():
        status, body = await readers.ask("SELECT count() FROM turns WHERE user LIKE 'many%'")
        assert status == 200, body
        counts.append(int(body))
    inserts = await writing
    await until_seen(readers, "SELECT count() FROM turns WHERE user LIKE 'many%'", f"{5 * inserts}\n")

    assert counts == sorted(counts)
    assert len(counts) > 3


async def insert_and_merge(written: Writer, counts: list[int]) -> int:
    """Twelve inserts, or as many as it takes until the reader has counted a few times; how many."""
    for number in range(100):
        await written.insert(f"many{number}", 5)
        if number % 4 == 3:
            await written.connection.command("OPTIMIZE TABLE tokenwire.turn_parts FINAL")
        await asyncio.sleep(0.1)  # so that the parts come over several looks at the folder
        if number >= 11 and len(counts) > 3:
            return number + 1
    return 100


async def test_answers_are_those_of_the_writer(written: Writer, readers: ReaderProcess) -> None:
    """The same rows, streams and costs, through the same view."""
    sql = (
        "SELECT turn, texts, gaps_us, toString(accepted_at), toString(cost_usd), metadata, ttft_ms "
        "FROM tokenwire.turn_streams WHERE user = 'ann' ORDER BY turn"
    )
    own = await written.connection.query(f"SELECT groupArray(toJSONString(tuple(*))) FROM ({sql})")
    status, body = await readers.ask(f"SELECT toJSONString(tuple(*)) AS row FROM ({sql}) FORMAT JSONEachRow")

    assert status == 200
    assert [json.loads(line)["row"] for line in body.splitlines()] == own[0][0]
    assert len(own[0][0]) == 20


async def test_migration_and_new_token_need_no_restart(written: Writer, readers: ReaderProcess) -> None:
    """The next query after the writer's notice has the new column; a query under way ends as it began."""
    under_way = await query_under_way(readers)
    await written.connection.command("ALTER TABLE tokenwire.turn_parts ADD COLUMN extra UInt8 DEFAULT 7")
    await written.tell()
    status, body = await readers.ask("SELECT DISTINCT extra FROM turn_parts")
    ended = await under_way
    (written.home / TOKEN_PLACE).write_text("another-token-of-forty-characters-in-all")
    await written.tell()
    refused = (await readers.ask("SELECT 1"))[0]
    readers.http.headers.update(reader_headers(reader_token(written.home)))
    again = (await readers.ask("SELECT 1"))[0]

    assert (status, body) == (200, "7\n")
    assert ended[0] == 200, ended
    assert (refused, again) == (403, 200)


async def query_under_way(readers: ReaderProcess) -> asyncio.Task[tuple[int, str]]:
    """A query that was seen at work: one that ends before anybody looks is asked for more."""
    seen = "SELECT count() FROM system.processes WHERE query LIKE '%CROSS JOIN%'"  # this one too
    for doublings in range(8):
        rows = 3_000_000 << doublings
        asked = f"SELECT count() FROM turn_parts CROSS JOIN numbers({rows}) AS n WHERE number % 7 = 3"
        under_way = asyncio.create_task(readers.ask(asked))
        while not under_way.done():
            if await readers.ask(seen) == (200, "2\n"):
                return under_way
    pytest.fail("each query ended before it was seen at work")


async def test_S15_process_holds_no_secret(readers: ReaderProcess, written: Writer) -> None:
    """Its environment and its open files: nothing that opens anything else."""
    proc = Path(f"/proc/{readers.process.pid}")
    environment = (proc / "environ").read_bytes()
    held = (*SECRETS, *SECRETS.values(), reader_token(written.home))

    assert not [secret for secret in held if secret.encode() in environment]
    assert not [path for path in opened_by(proc) if "/keys" in path]
    assert "NoNewPrivs:\t1" in (proc / "status").read_text()


def opened_by(proc: Path) -> list[str]:
    found = []
    for number in (proc / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed since the list was made
            found.append(os.readlink(number))
    return found


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO turn_parts (user) VALUES ('x')",
        "ALTER TABLE turn_parts DELETE WHERE 1",
        "DROP TABLE turn_parts",
        "TRUNCATE TABLE turn_parts",
    ],
)
async def test_nothing_is_written(readers: ReaderProcess, sql: str) -> None:
    """Refused before it reaches the engine."""
    assert (await readers.ask(sql))[0] == 403


async def test_old_parts_stay_longer_than_any_query(written: Writer) -> None:
    """What a reader began on is there to its end, whatever was merged meanwhile."""
    found = await written.connection.query(
        "SELECT value FROM system.merge_tree_settings WHERE name='old_parts_lifetime'"
    )

    assert int(found[0][0]) >= OLD_PARTS_S_MIN > 5


async def test_killed_reader_takes_nothing_with_it(written: Writer, readers: ReaderProcess) -> None:
    """Another one, at once, has all rows; the writer noticed nothing; a second beside it is told so."""
    before = (await readers.ask(COUNT))[1]
    second = await start(written.home)
    assert second.stdout is not None
    said = await asyncio.wait_for(second.stdout.read(), SEEN_S)
    readers.process.kill()
    await readers.process.wait()
    await written.insert("after", 3)
    async with reader_process(written.home) as again:
        count = (await again.ask(COUNT))[1]
        pinged = await again.ping()
        ended = await again.stop()

    assert b"tokenwire reader" in said
    assert await second.wait() == 1
    assert int(count) == int(before) + 3
    assert (pinged, ended) == (200, 0)


async def test_other_folder_of_the_writer(written: Writer, tmp_path: Path) -> None:
    """It may read the one that it was started for: it ends, and whoever keeps it starts it again for the new one."""
    path = notice_path(written.home)
    told = msgspec.json.decode(path.read_bytes(), type=ReadersNotice)
    async with reader_process(written.home) as old:
        moved = msgspec.structs.replace(told, store=str(tmp_path), tables=told.tables[:1])
        path.write_bytes(msgspec.json.encode(moved))
        status = (await old.ask(COUNT))[0]
        code = await asyncio.wait_for(old.process.wait(), SEEN_S)
    await written.tell()

    assert (status, code) == (503, 0)


async def test_taken_port_is_told(written: Writer) -> None:
    """In one sentence that names the setting."""
    port = find_free_port()
    with other_server_on(port):
        refused = await start(written.home, TOKENWIRE_ANALYTICS_PORT=str(port))
        assert refused.stdout is not None
        said = await asyncio.wait_for(refused.stdout.read(), SEEN_S)
        code = await refused.wait()

    assert (code, b"TOKENWIRE_ANALYTICS_PORT" in said) == (1, True)
