"""The owner's connection to ClickHouse: the embedded engine or an existing server, through one client.

The client's calls block, so they run in one thread of our own, one after the other. A call that outlives its deadline
goes on in that thread; what follows waits behind it, so an insert is never in two threads at once.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any, Final, TypeVar

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError as DriverError
from clickhouse_connect.driver.exceptions import OperationalError

from infra.clickhouse.decisions.row_refusals import ROW_REFUSALS, is_about_rows
from infra.clickhouse.engine_files import EngineFiles
from infra.clickhouse.errors import ClickHouseError, ClickHouseRefused, ClickHouseUnavailable, RowsRefused
from infra.embedded_parts import EmbeddedPart, require_embedded
from infra.settings import Settings

__all__ = ["ClickHouseConnection"]

Answer = TypeVar("Answer")

CONNECT_S: Final = 10.0
CALL_S: Final = 60.0
CLOSE_S: Final = 2.0
TEMPORARY_CODES: Final = frozenset(
    {
        159,  # TIMEOUT_EXCEEDED
        164,  # READONLY: a server taken out of service for a while
        202,  # TOO_MANY_SIMULTANEOUS_QUERIES
        209,  # SOCKET_TIMEOUT
        210,  # NETWORK_ERROR
        241,  # MEMORY_LIMIT_EXCEEDED
        242,  # TABLE_IS_READ_ONLY
        243,  # NOT_ENOUGH_SPACE
        252,  # TOO_MANY_PARTS
        319,  # UNKNOWN_STATUS_OF_INSERT
        425,  # SYSTEM_ERROR
        999,  # KEEPER_EXCEPTION
    }
)


class ClickHouseConnection:
    """One client and the thread it lives in. `open` before use, `close` after.

    Raises EmbeddedPartsMissing where the settings name no server and the engine is not installed.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.files = EngineFiles(settings.home)
        self.embedded = not settings.clickhouse
        if self.embedded:
            require_embedded(EmbeddedPart.ENGINE)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="clickhouse")
        self._client: Client | None = None
        self._claimed: IO[bytes] | None = None

    async def open(self) -> None:
        """Connect, unless connected. Raises DataFolderInUse, ClickHouseUnavailable, ClickHouseRefused."""
        if self._client is None:
            self._client = await self.run(self.connect, deadline_s=CONNECT_S * 2)

    async def close(self) -> None:
        """Close the client and end the thread; a call still running keeps the thread until it ends."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(ClickHouseError):  # the engine recovers its folder at the next start
                await self.run(client.close, deadline_s=CLOSE_S)
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._claimed is not None:
            self._claimed.close()

    async def command(self, sql: str) -> None:
        """Run a statement that returns no rows. Raises ClickHouseUnavailable, ClickHouseRefused."""
        await self.run(lambda: self.opened().command(sql))

    async def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> Sequence[Sequence[Any]]:
        """The rows of a query. Raises ClickHouseUnavailable, ClickHouseRefused."""
        bound = dict(parameters or {})
        return await self.run(lambda: self.opened().query(sql, parameters=bound).result_rows)

    async def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], *, token: str) -> None:
        """Insert the rows under a deduplication token: the same token again changes nothing.

        Raises ClickHouseUnavailable (done or not, unknown), ClickHouseRefused, RowsRefused.

        Cancellation: the insert may go on in the thread; do it again with the same token.
        """
        settings = {"insert_deduplication_token": token, "insert_deduplicate": 1, "async_insert": 0}
        try:
            await self.run(
                lambda: self.opened().insert(table, rows, column_names=list(columns), database=None, settings=settings)
            )
        except ClickHouseRefused as refusal:
            if is_about_rows(refusal.code):
                raise RowsRefused(ROW_REFUSALS[refusal.code], code=refusal.code) from None
            raise

    async def run(self, call: Callable[[], Answer], *, deadline_s: float = CALL_S) -> Answer:
        """Run a blocking call in the thread, translating the driver's errors."""
        loop = asyncio.get_running_loop()
        try:
            return await asyncio.wait_for(loop.run_in_executor(self._thread, call), deadline_s)
        except TimeoutError:
            raise ClickHouseUnavailable(f"no answer within {deadline_s:g} s") from None
        except (DriverError, OSError) as error:
            raise translated(error) from error

    def opened(self) -> Client:
        if self._client is None:
            raise ClickHouseUnavailable("not connected")
        return self._client

    def connect(self) -> Client:
        if not self.embedded:
            return clickhouse_connect.get_client(
                dsn=self._settings.clickhouse,
                database="default",  # the migrations create ours; every statement names it
                connect_timeout=int(CONNECT_S),
                send_receive_timeout=int(CALL_S),
                autogenerate_session_id=False,
                form_encode_query_params=True,  # a batch of identities does not fit an address
                query_retries=0,
            )
        if self._claimed is None:
            self._claimed = self.files.claim()
        self.files.write(query_s_max=self._settings.analytics_query_s)
        return clickhouse_connect.get_client(
            interface="chdb", path=str(self.files.data), chdb_options={"config-file": str(self.files.config)}
        )


def translated(error: Exception) -> ClickHouseError:
    text = str(error)
    code = int(getattr(error, "code", 0) or 0)
    if code in TEMPORARY_CODES or (code == 0 and isinstance(error, OperationalError | OSError)):
        return ClickHouseUnavailable(text, code=code)
    return ClickHouseRefused(text, code=code)
