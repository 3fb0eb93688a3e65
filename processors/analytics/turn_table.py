"""The table that turns are written to, as the writer sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from infra.clickhouse.connection import ClickHouseConnection
from infra.clickhouse.errors import ClickHouseRefused, RowsRefused
from processors.analytics.decisions.analytics_rows import COLUMNS, OUTCOME, PROBE, TABLE, Row, RowIdentity

__all__ = ["ClickHouseTurnTable", "TurnTable"]

SELECT_PRESENT: Final = f"""
SELECT user, session, turn, attempt, run, if(last, {OUTCOME}, toInt64(part)) AS place FROM {TABLE}
WHERE (user, session, turn, attempt, run) IN {{attempts:Array(Tuple(String, String, String, UInt16, String))}}
    AND (user, session, turn, attempt, run, place)
        IN {{identities:Array(Tuple(String, String, String, UInt16, String, Int64))}}"""
"""Twice, because the first condition reaches the key."""
IDENTITIES_PER_QUERY_MAX: Final = 200
PROBE_TOKEN: Final = "probe"


class TurnTable(Protocol):
    """What an exact writer needs of a table."""

    async def present(self, identities: Sequence[RowIdentity]) -> set[RowIdentity]:
        """Those of the rows that are there. Raises ClickHouseError."""

    async def insert(self, rows: Sequence[Row], *, token: str) -> None:
        """Insert the rows; the same token again changes nothing. Raises ClickHouseError, RowsRefused among them."""

    async def probe(self) -> None:
        """Insert a row that can't be refused for what it holds. Raises ClickHouseError, but never RowsRefused."""


class ClickHouseTurnTable:
    """`tokenwire.turn_parts` over a connection."""

    def __init__(self, connection: ClickHouseConnection) -> None:
        self._connection = connection

    async def present(self, identities: Sequence[RowIdentity]) -> set[RowIdentity]:
        """Those of the rows that are there, asked for in pieces that fit a query's address."""
        found: set[RowIdentity] = set()
        for start in range(0, len(identities), IDENTITIES_PER_QUERY_MAX):
            wanted = list(identities[start : start + IDENTITIES_PER_QUERY_MAX])
            attempts = sorted({identity[:5] for identity in wanted})
            rows = await self._connection.query(SELECT_PRESENT, {"attempts": attempts, "identities": wanted})
            found.update((row[0], row[1], row[2], row[3], row[4], row[5]) for row in rows)
        return found

    async def insert(self, rows: Sequence[Row], *, token: str) -> None:
        """Insert the rows under their token."""
        await self._connection.insert(TABLE, COLUMNS, rows, token=token)

    async def probe(self) -> None:
        """Insert PROBE. Under its one token it is there once however often it is tried, but is checked each time."""
        try:
            await self._connection.insert(TABLE, COLUMNS, [PROBE], token=PROBE_TOKEN)
        except RowsRefused as refusal:
            raise ClickHouseRefused(f"{TABLE} takes no row at all ({refusal})", code=refusal.code) from refusal
