"""An engine with the attempts of one user and its read-only endpoint, for the tests of a module."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import clickhouse_connect
import pytest
import pytest_asyncio
from clickhouse_connect.driver.client import Client

from infra.clickhouse.connection import ClickHouseConnection
from infra.clickhouse.decisions.reader_access import token_digest
from infra.clickhouse.embedded_reader import EmbeddedReader, ReaderLimits
from infra.clickhouse.migrate import migrate
from infra.clickhouse.reader_token import reader_headers, reader_token
from infra.embedded.clickhouse_http import ClickHouseEndpoint
from infra.ports import find_free_port
from infra.settings import Settings, load_settings
from processors.analytics.decisions.analytics_rows import row_of
from processors.analytics.turn_table import ClickHouseTurnTable
from tests.integration.analytics_fixture import attempt_records

__all__ = ["QUERY_S", "Served", "served"]

QUERY_S = 2.0


@dataclass(frozen=True, slots=True)
class Served:
    """An engine with 20 attempts of ann and its endpoint."""

    settings: Settings
    connection: ClickHouseConnection
    endpoint: ClickHouseEndpoint
    folder: Path
    token: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.endpoint.port}/"

    def session(self) -> aiohttp.ClientSession:
        """A client that shows the token."""
        return aiohttp.ClientSession(headers=reader_headers(self.token))

    def client(self) -> Client:
        """The usual Python client with the token."""
        return clickhouse_connect.get_client(host="127.0.0.1", port=self.endpoint.port, password=self.token)

    async def ask(self, sql: str, **parameters: str) -> tuple[int, str, str]:
        """Status, exception code and body of a GET."""
        async with (
            self.session() as session,
            session.get(self.url, params={"query": sql, **parameters}) as response,
        ):
            return response.status, response.headers.get("X-ClickHouse-Exception-Code", ""), await response.text()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Served]:
    folder = tmp_path_factory.mktemp("endpoint")
    settings = load_settings({}, home=folder, analytics_port=find_free_port(), analytics_query_s=QUERY_S)
    connection = ClickHouseConnection(settings)
    await connection.open()
    await migrate(connection)
    records = attempt_records("ann", 20)
    rows = [row_of(record, recorded_at_ms=1_790_000_000_000) for record in records]
    await ClickHouseTurnTable(connection).insert(rows, token="first")
    limits = ReaderLimits(query_s_max=QUERY_S, queries_max=2, waiting_max=2, answer_bytes_max=1_000_000)
    token = reader_token(folder)
    reader = EmbeddedReader(connection.files, limits)
    endpoint = ClickHouseEndpoint(reader, settings.analytics_port, lambda: token_digest(token))
    await endpoint.start()
    try:
        yield Served(settings, connection, endpoint, folder, token)
    finally:
        await endpoint.stop()
        await connection.close()
