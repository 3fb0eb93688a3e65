"""What ClickHouse keeps of a session: for readers whose log does not reach back far enough.

One question per session, by the table's key, with bound parameters; it reads rows of that session only. The newest
rows within a bound on their text come back; a turn whose beginning lies beyond it is left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import clickhouse_connect
from aiohttp import ClientError
from clickhouse_connect.driver.asyncclient import AsyncClient
from clickhouse_connect.driver.exceptions import ClickHouseError as DriverError

from infra.clickhouse.decisions.archived_turns import ArchivedTurn, PartRow, archived_turns
from infra.clickhouse.errors import ClickHouseUnavailable
from infra.clickhouse.queries import reading_access
from infra.keys import SecretDamaged
from infra.settings import Settings
from schemas.session_events import Usage

__all__ = ["AnswerArchive"]

CONNECT_S: Final = 1.0
CONNECTIONS_MAX: Final = 2
AUTHENTICATION_FAILED: Final = 516
COUNTS: Final = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
STREAM_COLUMNS: Final = 13
QUERY: Final = """
SELECT
    turn, attempt, run, part, last, prompt_id, seq, length(texts), arrayStringConcat(texts), reason, error_code,
    provider, model, input_tokens, output_tokens, cached_tokens, reasoning_tokens, usage_estimated, cost_nano_usd,
    accepted_at
FROM
(
    SELECT
        *,
        sum(arraySum(text -> length(text), texts)) OVER
        (
            ORDER BY recorded_at DESC, turn, attempt DESC, run, part DESC
            ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS text_bytes
    FROM tokenwire.turn_parts
    WHERE user = {user:String} AND session = {session:String}
)
WHERE text_bytes <= {text_bytes_max:UInt64}
"""
"""Ordered by when a row was written: a turn's rows lie close together, so at most one turn of a line is cut off."""


class AnswerArchive:
    """A client that only reads. It connects when it is first asked; `close` after use."""

    def __init__(self, settings: Settings, *, query_s_max: float, text_bytes_max: int) -> None:
        self._settings = settings
        self._query_s_max = query_s_max
        self._text_bytes_max = text_bytes_max
        self._client: AsyncClient | None = None

    async def turns(self, user: str, session: str) -> tuple[ArchivedTurn, ...]:
        """The session's turns that have ended and are there in full, oldest first. Raises ClickHouseUnavailable.

        The caller's deadline bounds it. Cancellation: the engine may go on with the query until its own limit.
        """
        parameters = {"user": user, "session": session, "text_bytes_max": self._text_bytes_max}
        try:
            if self._client is None:
                self._client = await self.connected()
            answer = await self._client.query(QUERY, parameters=parameters, query_tz="UTC")
        except (DriverError, ClientError, OSError, SecretDamaged) as error:
            if getattr(error, "code", 0) == AUTHENTICATION_FAILED:
                await self.close()  # the next question reads the token again: it is another one since the restart
            raise ClickHouseUnavailable(type(error).__name__) from error
        return archived_turns(part_row(row) for row in answer.result_rows)

    async def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def connected(self) -> AsyncClient:
        if not self._settings.clickhouse_to_read and not self._settings.analytics_port:
            raise ClickHouseUnavailable("the embedded engine's endpoint is at a port that nobody told us")
        access = await asyncio.to_thread(reading_access, self._settings, query_s_max=self._query_s_max)
        return await clickhouse_connect.get_async_client(
            connect_timeout=CONNECT_S,
            send_receive_timeout=self._query_s_max,
            connector_limit=CONNECTIONS_MAX,
            query_retries=0,
            **access,
        )


def part_row(row: Sequence[Any]) -> PartRow:
    of_stream, counts, (estimated, cost, accepted_at) = row[:STREAM_COLUMNS], row[STREAM_COLUMNS:-3], row[-3:]
    usage = Usage(**dict(zip(COUNTS, counts, strict=True)), estimated=estimated)
    return PartRow._make((*of_stream, usage, cost, accepted_at))
