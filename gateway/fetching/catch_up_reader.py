"""Reads of the past for clients that are behind: one small piece at a time, over a few connections of their own.

However many clients are behind, no more pieces are under way than there are connections, and whoever waits is served
in the order of asking, one piece each: a client far behind holds nobody up for longer than a piece, and those who
follow the end never, since they are read elsewhere. Nothing is read ahead: who takes nothing asks for nothing.

Memory: connections × piece (or × the largest batch on the log, which comes whole).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from infra.kafka.log_client import Fetched, LogBounds, LogError, LogRecord, LogUnavailable
from infra.kafka.session_topics import SessionLog
from schemas.identifiers import SessionKey

__all__ = ["CATCH_UP_CONNECTIONS", "CatchUpReader", "LogPiece", "PastUnreadable", "PieceSource"]

CATCH_UP_CONNECTIONS: Final = 2
PIECE_BYTES: Final = 65_536
SHARED_PIECE_BYTES: Final = 524_288
"""In a shared partition most of a piece is other sessions'."""


class PieceSource(Protocol):
    """One connection to the logs (`infra.kafka.log_client.LogClient`)."""

    async def fetch(self, topic: str, partition: int, offset: int, *, wait_ms: int = 0, bytes_max: int = 0) -> Fetched:
        """One fetch. Raises LogError."""

    async def bounds(self, topic: str, partition: int) -> LogBounds:
        """First and next offset. Raises LogError."""


@dataclass(frozen=True, slots=True)
class LogPiece:
    """Some of a session's records, in order, and where to read on."""

    records: list[LogRecord]
    next_offset: int
    lost: bool = False
    """Whether it holds nothing because nothing there can be read."""


class PastUnreadable(LogError):
    """A part of the log that was not told yet can't be read."""


class CatchUpReader:
    """The connections, taken in turns."""

    def __init__(self, sources: Sequence[PieceSource]) -> None:
        self.free = deque(sources)
        self._turns = asyncio.Semaphore(len(sources))
        self._pieces = 0

    def newly_read(self) -> int:
        """How many pieces were read since this was asked last, for the shell's metrics."""
        newly, self._pieces = self._pieces, 0
        return newly

    async def piece(self, log: SessionLog, key: SessionKey, start: int, end: int) -> LogPiece:
        """The session's records from `start` on, some of them, all before `end`; at least one offset is passed.

        Raises OffsetOutOfRange, UnknownLog, LogUnavailable. Cancellation: nothing has happened.
        """
        place = log.place
        bytes_max = SHARED_PIECE_BYTES if place.shared else PIECE_BYTES
        async with self._turns:
            source = self.free.popleft()
            try:
                fetched = await source.fetch(place.topic, place.partition, start, bytes_max=bytes_max)
            finally:
                self.free.append(source)
        self._pieces += 1
        if fetched.next_offset <= start:
            raise LogUnavailable("the log's leader does not show all of it yet")
        raw_key = key.encode()
        own = [
            record for record in fetched.records if record.offset < end and (not place.shared or record.key == raw_key)
        ]
        return LogPiece(own, min(end, fetched.next_offset), lost=fetched.lost is not None)

    async def start_of(self, log: SessionLog) -> int:
        """The first offset that the log still holds. Raises UnknownLog, LogUnavailable."""
        async with self._turns:
            source = self.free.popleft()
            try:
                return (await source.bounds(log.place.topic, log.place.partition)).start
            finally:
                self.free.append(source)
