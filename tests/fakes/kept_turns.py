"""An archive in memory, which may be away."""

from __future__ import annotations

from infra.clickhouse.decisions.archived_turns import ArchivedTurn
from infra.clickhouse.errors import ClickHouseUnavailable

__all__ = ["KeptTurns"]


class KeptTurns:
    """An `Archive`: what it keeps of each session, oldest first."""

    def __init__(self, turns: dict[str, tuple[ArchivedTurn, ...]] | None = None) -> None:
        self.kept = turns or {}
        self.reachable = True
        self.asked: list[tuple[str, str]] = []

    async def turns(self, user: str, session: str) -> tuple[ArchivedTurn, ...]:
        """See `Archive.turns`."""
        self.asked.append((user, session))
        if not self.reachable:
            raise ClickHouseUnavailable("the test has taken it away")
        return self.kept.get(session, ())
