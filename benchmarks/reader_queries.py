"""What it costs that readers have a process of their own: the same queries at the writer's engine and theirs, in turns.

    python -m benchmarks.reader_queries [--rows 20000] [--rounds 15]

A folder of its own with so many rows in some parts, and inserts beside the queries, two a second. Both ways answer
over HTTP with the same code (`infra/embedded/clickhouse_http.py`): one in the process that writes, as it was before,
the other is `tokenwire reader`. Wall time is the client's median; CPU is that of the answering process, inserts
included for the writer's. Absolute figures move with the machine: the ratio is what is reported.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Final

import aiohttp

from infra.clickhouse.connection import ClickHouseConnection
from infra.clickhouse.decisions.reader_access import token_digest
from infra.clickhouse.embedded_reader import EmbeddedReader, ReaderLimits
from infra.clickhouse.migrate import migrate
from infra.clickhouse.notice_writing import leave_notice
from infra.clickhouse.reader_token import reader_headers, reader_token
from infra.embedded.clickhouse_http import ClickHouseEndpoint
from infra.settings import load_settings

__all__ = ["main"]

PARTS: Final = 8
INSERT_PAUSE_S: Final = 0.5
QUERIES: Final = {
    "SELECT 1": "SELECT 1",
    "one session": "SELECT turn, text FROM turn_streams WHERE user = 'u7' AND session = 's7'",
    "a model's latency": "SELECT model, count(), quantiles(0.5, 0.99)(ttft_ms) FROM turns GROUP BY model",
    "all texts": "SELECT sum(length(text)) FROM turn_streams",
}
ROWS: Final = (
    "INSERT INTO tokenwire.turn_parts (user, session, turn, attempt, run, part, last, texts, gaps_us, model, ttft_us, "
    "recorded_at) SELECT concat('u', toString(number % 100)), concat('s', toString(number % 1000)), "
    "concat('t', toString({first} + number)), 1, 'r', 0, true, "
    "arrayMap(n -> concat('token ', toString(n)), range(64)), range(64), 'm', number % 5000, now64(3) "
    "FROM numbers({count})"
)


def main() -> None:
    """Run the rounds and print the figures."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=20_000)
    options.add_argument("--rounds", type=int, default=15)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(compare(Path(folder), given.rows, given.rounds))


async def compare(home: Path, rows: int, rounds: int) -> None:
    async with serving(home, rows) as (connection, ways, pids):
        inserting = asyncio.create_task(insert_on(connection, rows))
        try:
            print(f"{'query':20} {'way':8} {'p50 ms':>8} {'CPU ms':>8} {'ratio':>6}")
            for name, sql in QUERIES.items():
                measured = await in_turns(ways, pids, sql, rounds)
                for way, (wall_s, cpu_s) in measured.items():
                    ratio = wall_s / measured["writer"][0]
                    print(f"{name:20} {way:8} {wall_s * 1e3:8.1f} {cpu_s * 1e3:8.1f} {ratio:6.2f}")
            print(f"memory of the readers' process: {memory(pids['reader'])}")
        finally:
            inserting.cancel()


@contextlib.asynccontextmanager
async def serving(
    home: Path, rows: int
) -> AsyncIterator[tuple[ClickHouseConnection, Mapping[str, tuple[aiohttp.ClientSession, str]], Mapping[str, int]]]:
    settings = load_settings({}, home=home, analytics_port=0)
    connection = ClickHouseConnection(settings)
    await connection.open()
    await migrate(connection)
    for part in range(PARTS):
        await connection.command(ROWS.format(first=part * rows // PARTS, count=rows // PARTS))
    await leave_notice(connection, home)
    token = reader_token(home)
    endpoint = ClickHouseEndpoint(EmbeddedReader(connection.files, ReaderLimits()), 0, lambda: token_digest(token))
    await endpoint.start()
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "tokenwire", "reader"),
        env=os.environ | {"TOKENWIRE_HOME": str(home), "TOKENWIRE_ANALYTICS_PORT": "0", "TOKENWIRE_LOG_LEVEL": "error"},
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdout is not None
    try:
        own = (await child.stdout.readline()).decode().split()[-1]
        async with aiohttp.ClientSession(headers=reader_headers(token)) as http:
            ways = {"writer": (http, f"http://127.0.0.1:{endpoint.port}/"), "reader": (http, own)}
            yield connection, ways, {"writer": os.getpid(), "reader": child.pid}
    finally:
        child.terminate()
        await child.wait()
        await endpoint.stop()
        await connection.close()


async def insert_on(connection: ClickHouseConnection, rows: int) -> None:
    for number in range(1_000_000):
        await connection.command(ROWS.format(first=rows + number * 10, count=10))
        await asyncio.sleep(INSERT_PAUSE_S)


async def in_turns(
    ways: Mapping[str, tuple[aiohttp.ClientSession, str]], pids: Mapping[str, int], sql: str, rounds: int
) -> dict[str, tuple[float, float]]:
    """Median wall seconds, and CPU seconds of the answering process for one query, by way; the first round warms up."""
    walls: dict[str, list[float]] = {way: [] for way in ways}
    cpus: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds + 1):
        for way, (http, url) in ways.items():
            began_s, before_s = time.perf_counter(), cpu_s(pids[way])
            async with http.post(url, data=sql.encode()) as answer:
                answer.raise_for_status()
                await answer.read()
            walls[way].append(time.perf_counter() - began_s)
            cpus[way].append(cpu_s(pids[way]) - before_s)
    return {way: (statistics.median(walls[way][1:]), statistics.fmean(cpus[way][1:])) for way in ways}


def memory(pid: int) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return ", ".join(" ".join(line.split()) for line in lines if line.startswith(("VmRSS", "RssAnon")))


def cpu_s(pid: int) -> float:
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
