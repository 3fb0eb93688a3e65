"""Row S15: what is left of the readers' walls when one of them has a hole: each is tried with the other taken down.

The canary is in a file and in another process's environment. Attacks are those that an engine without walls falls for,
which is tried first: a test of walls against harmless shots would show nothing.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from infra.confinement import landlock_version
from tests.integration.reader_line import ReaderProcess, Writer, reader_process, writer

__all__: list[str] = []

Shot = tuple[str, dict[str, str]]

CANARY = "CANARY-5b1e77"
OPEN_READER = (sys.executable, str(Path(__file__).with_name("open_reader.py")))
READS: tuple[Shot, ...] = (
    ("SELECT file('CANARY')", {}),
    ("SELECT * FROM file('CANARY', LineAsString)", {}),
    ("SELECT * FROM file('ENVIRONMENT', LineAsString)", {}),
    ("SELECT * FROM file('SECRETS/*', LineAsString)", {}),
    ("SELECT a FROM format(JSONEachRow, 'a String DEFAULT file(\\'CANARY\\')', '{}')", {}),
    ("SELECT 1 AS a", {"additional_result_filter": "throwIf(1, file('CANARY'))"}),
    ("SELECT 1 AS a", {"format_template_resultset": "CANARY", "default_format": "Template"}),
)
WRITES: tuple[Shot, ...] = (
    ("INSERT INTO FUNCTION file('SECRETS/written', CSV, 'a Int8') SELECT 1", {}),
    ("INSERT INTO FUNCTION file('PARTS/written', CSV, 'a Int8') SELECT 1", {}),
    ("INSERT INTO FUNCTION file('CANARY', CSV, 'a Int8') SETTINGS engine_file_truncate_on_insert = 1 SELECT 1", {}),
    ("SELECT * FROM format(CSV, 'a Int8', 'x')", {"input_format_record_errors_file_path": "SECRETS/errors"}),
    ("CREATE TABLE tokenwire.other (a Int8) ENGINE = File(CSV, 'SECRETS/table')", {}),
    ("INSERT INTO tokenwire.turn_parts (user) SELECT 'x'", {}),
    ("DROP TABLE tokenwire.turn_parts SYNC", {}),
)
CALLS: tuple[Shot, ...] = (
    ("SELECT * FROM url('http://127.0.0.1:PORT/', LineAsString, 'a String')", {"http_max_tries": "1"}),
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(slots=True)
class Loot:
    """What attacks brought home."""

    told: list[str] = field(default_factory=list)
    """Answers with the canary in them."""
    changed: list[str] = field(default_factory=list)
    """Files that appeared, went or changed outside the reader's own folder."""
    callers: int = 0
    """Connections that the reader's process opened."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def written(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Writer]:
    async with writer(tmp_path_factory.mktemp("walls")) as found:
        await found.insert("ann", 20)
        await found.tell()
        yield found


async def test_S15_attacks_hit_where_no_wall_stands(written: Writer, tmp_path: Path) -> None:
    """Files and environments are read, files are written, connections are opened: the shots are live."""
    loot = await attacked(written, tmp_path, "list", "confinement")

    assert len(loot.told) >= 3
    assert any("written" in path for path in loot.changed)
    assert loot.callers >= 1


@pytest.mark.skipif(landlock_version() == 0, reason="this system has no Landlock")
async def test_S15_process_gives_nothing_without_the_list(written: Writer, tmp_path: Path) -> None:
    """Every statement runs as sent, by a user with all rights: no byte of the canary, no file, no connection."""
    loot = await attacked(written, tmp_path, "list")

    assert loot == Loot()


async def test_S15_list_gives_nothing_without_the_process_walls(written: Writer, tmp_path: Path) -> None:
    """The process may do what its account may: still no byte of the canary, no file, no connection."""
    loot = await attacked(written, tmp_path, "confinement")

    assert loot == Loot()


async def attacked(written: Writer, folder: Path, *down: str) -> Loot:
    """Run every attack at a reader without those walls; afterwards the writer's rows must all be there."""
    canary = folder / "canary.txt"
    canary.write_text(f"{CANARY}\n", encoding="utf-8")
    loot = Loot()

    async def answer(_: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        loot.callers += 1
        stream.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nx\n")
        stream.close()

    parts = written.home / "clickhouse"
    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with listening, bystander() as pid, reader_process(written.home, (*OPEN_READER, *down)) as reader:
        names = {
            "ENVIRONMENT": f"/proc/{pid}/environ",
            "SECRETS": str(folder),
            "PARTS": str(parts / "store"),
            "CANARY": str(canary),
            "PORT": str(listening.sockets[0].getsockname()[1]),
        }
        assert (await reader.ask("SELECT count() FROM tokenwire.turns"))[1] == "20\n"
        before = files_below(folder, parts)
        for sql, settings in (*READS, *WRITES, *CALLS):
            await shoot(
                reader, filled(sql, names), {name: filled(text, names) for name, text in settings.items()}, loot
            )
        after = files_below(folder, parts)
        loot.changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    assert [tuple(row) for row in await written.connection.query("SELECT count() FROM tokenwire.turns")] == [(20,)]
    return loot


async def shoot(reader: ReaderProcess, sql: str, settings: dict[str, str], loot: Loot) -> None:
    _, body = await reader.ask(sql, **settings)
    if CANARY in body:
        loot.told.append(sql)


@asynccontextmanager
async def bystander() -> AsyncIterator[int]:
    """Another process of the account, with the canary in its environment."""
    process = await asyncio.create_subprocess_exec("sleep", "600", env=os.environ | {"KEY": CANARY})
    try:
        yield process.pid
    finally:
        process.kill()
        await process.wait()


def filled(text: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        text = text.replace(name, value)
    return text


def files_below(*folders: Path) -> dict[str, bytes]:
    found = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in found}
