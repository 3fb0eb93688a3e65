"""The oldest source: what ClickHouse keeps of a session whose log no longer reaches back far enough.

Its answer is a picture of ended turns, never a promise: where ClickHouse does not answer in time, or too many ask, the
client is told what the log still holds, and is told so. A database that is away is left alone for a while, so that
nobody's attach waits for it again and again.
"""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

import structlog

from gateway.sockets.gateway_metrics import GatewayMetrics
from infra.clickhouse.decisions.archived_turns import ArchivedTurn
from infra.clickhouse.errors import ClickHouseError
from infra.clock import Clock
from schemas.identifiers import SessionId, UserId

__all__ = ["ARCHIVE_S", "ARCHIVE_TEXT_BYTES_MAX", "Archive", "ArchiveReader"]

log = structlog.get_logger(__name__)

ARCHIVE_S: Final = 2.0
"""From asking to the answer, the wait for a place included; less than an attach may take."""
ARCHIVE_TEXT_BYTES_MAX: Final = 524_288
"""Text of one session: its newest turns. It is held until the client has taken it."""
AT_ONCE: Final = 2
WAITING_MAX: Final = 64
"""More do not wait: they are told what the log holds."""
PAUSE_S: Final = 5.0
"""So long a database that did not answer is left alone."""


class Archive(Protocol):
    """Where ended turns are kept (`infra.clickhouse.answer_archive.AnswerArchive`)."""

    async def turns(self, user: str, session: str) -> tuple[ArchivedTurn, ...]:
        """The session's ended turns, oldest first. Raises ClickHouseError."""


class ArchiveReader:
    """Asks on behalf of clients, within bounds."""

    def __init__(self, archive: Archive, metrics: GatewayMetrics, clock: Clock) -> None:
        self._archive = archive
        self._metrics = metrics
        self._clock = clock
        self._places = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self.paused_until_s = 0.0

    async def turns(self, user: UserId, session: SessionId) -> tuple[ArchivedTurn, ...]:
        """The session's ended turns, oldest first; nothing where ClickHouse cannot be asked.

        Cancellation: nothing has happened.
        """
        if self._clock.monotonic_s() < self.paused_until_s or self._waiting >= WAITING_MAX:
            self._metrics.archive_asked("passed_over")
            return ()
        self._waiting += 1
        try:
            async with asyncio.timeout(ARCHIVE_S), self._places:
                turns = await self._archive.turns(user, session)
        except (ClickHouseError, TimeoutError) as error:
            log.warning("archive_not_read", error=type(error).__name__, pause_s=PAUSE_S)
            self.paused_until_s = self._clock.monotonic_s() + PAUSE_S
            self._metrics.archive_asked("failed")
            return ()
        finally:
            self._waiting -= 1
        self._metrics.archive_asked("answered")
        return turns
