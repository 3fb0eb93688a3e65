"""A writer's engine in the test's process, and `tokenwire reader` beside it as a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from infra.clickhouse.connection import ClickHouseConnection
from infra.clickhouse.migrate import migrate
from infra.clickhouse.notice_writing import leave_notice
from infra.clickhouse.reader_token import reader_headers, reader_token
from infra.settings import load_settings
from processors.analytics.decisions.analytics_rows import row_of
from processors.analytics.turn_table import ClickHouseTurnTable
from tests.integration.analytics_fixture import attempt_records

__all__ = ["READER", "ReaderProcess", "Writer", "reader_process", "start", "writer"]

READER: Final = (sys.executable, "-P", "-m", "tokenwire", "reader")
QUERY_S: Final = 60.0
"""Long: the first query opens the engine, on a machine that may be busy."""
READY_S: Final = 60.0
STOP_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Writer:
    """An engine that has its tables."""

    home: Path
    connection: ClickHouseConnection

    async def insert(self, user: str, count: int) -> None:
        """So many attempts of a user, as one part."""
        rows = [row_of(record, recorded_at_ms=1_790_000_000_000) for record in attempt_records(user, count)]
        await ClickHouseTurnTable(self.connection).insert(rows, token=user)

    async def tell(self) -> None:
        """Leave the notice for readers."""
        await leave_notice(self.connection, self.home)


@asynccontextmanager
async def writer(home: Path) -> AsyncIterator[Writer]:
    """It has told nobody yet."""
    connection = ClickHouseConnection(load_settings({}, home=home, analytics_query_s=QUERY_S))
    await connection.open()
    try:
        await migrate(connection)
        yield Writer(home, connection)
    finally:
        await connection.close()


@dataclass(frozen=True, slots=True)
class ReaderProcess:
    """A process that answers, and a client that shows the token."""

    process: asyncio.subprocess.Process
    url: str
    http: aiohttp.ClientSession

    async def ask(self, sql: str, **parameters: str) -> tuple[int, str]:
        """Status and body."""
        async with self.http.post(self.url, params=parameters, data=sql.encode()) as response:
            return response.status, (await response.read()).decode(errors="replace")

    async def ping(self) -> int:
        """The status of its health."""
        async with self.http.get(f"{self.url}ping") as response:
            return response.status

    async def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), STOP_S)


async def start(home: Path, argv: Sequence[str] = READER, **environment: str) -> asyncio.subprocess.Process:
    """A process that is not awaited."""
    own = {"TOKENWIRE_HOME": str(home), "TOKENWIRE_ANALYTICS_PORT": "0", "TOKENWIRE_ANALYTICS_QUERY_S": str(QUERY_S)}
    return await asyncio.create_subprocess_exec(
        *argv, env=os.environ | own | environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )


async def until_said(process: asyncio.subprocess.Process, words: bytes) -> bytes:
    """The first line with these words."""
    assert process.stdout is not None
    said = b""
    async with asyncio.timeout(READY_S):
        async for line in process.stdout:
            said += line
            if words in line:
                return line
    raise AssertionError(said.decode())


@asynccontextmanager
async def reader_process(
    home: Path,
    argv: Sequence[str] = READER,
    *,
    meanwhile: Callable[[], Awaitable[None]] | None = None,
    **environment: str,
) -> AsyncIterator[ReaderProcess]:
    """A process that answers, ended at the end. `meanwhile`: done once it says that it waits for the tables."""
    process = await start(home, argv, **environment)
    try:
        if meanwhile is not None:
            await until_said(process, b"tables_awaited")
            await meanwhile()
        said = await until_said(process, b"Listening at ")
        url = said.split()[-1].decode() + "/"
        async with aiohttp.ClientSession(headers=reader_headers(reader_token(home))) as http:
            yield ReaderProcess(process, url, http)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
