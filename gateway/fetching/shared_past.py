"""Where to begin in partitions that many sessions share.

A session's hub needs its open turns, and nothing tells where in a shared partition they lie. So the first session that
is opened in a partition has it read from its beginning, once for all sessions: where turns are open is noted
(`decisions/open_turns.py`), and kept up to date by whoever follows the partition. Every further session is opened where
its oldest open turn begins, which is at the end for nearly all. While nobody follows the partition nothing is noted;
the next one to open a session there has it read on from where that ended.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final

from gateway.fetching.decisions.open_turns import OpenTurns
from gateway.fetching.log_reader import LogReader, PastReader
from infra.kafka.log_client import LogUnavailable
from infra.kafka.session_topics import SessionLog
from schemas.identifiers import SessionKey
from schemas.topics import LogPlace

__all__ = ["SharedPast"]

ATTEMPTS_MAX: Final = 100


@dataclass(slots=True)
class NotedPartition:
    """A partition's noted turns, and the right to read on."""

    turns: OpenTurns
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class SharedPast:
    """All partitions in which a session was opened, by the log that they were then."""

    def __init__(self, log_client: PastReader, reader: LogReader) -> None:
        self._log_client = log_client
        self._reader = reader
        self.partitions: dict[tuple[LogPlace, str], NotedPartition] = {}

    async def read_from(self, log: SessionLog, key: SessionKey, end: int) -> int:
        """Where to begin to fold a session's log, which ends at `end`. Raises UnknownLog, LogUnavailable.

        Cancellation: what was read is noted, and the next one goes on from there.
        """
        noted = self.partitions.get((log.place, log.epoch))
        if noted is None:
            self.forget(log.place)
            noted = self.partitions[log.place, log.epoch] = NotedPartition(OpenTurns(0))
        async with noted.lock:  # read once for all who ask: the second finds it read, and reads on from there
            await self.read_on(log.place, noted.turns, end)
        return noted.turns.read_from(key.encode())

    def followed(self, log: SessionLog) -> None:
        """The partition is followed from now on: note what comes."""
        noted = self.partitions.get((log.place, log.epoch))
        if noted is not None:
            self._reader.note_turns(log.place, noted.turns)

    def forget(self, place: LogPlace) -> None:
        """Its log was made anew."""
        for known in [known for known in self.partitions if known[0] == place]:
            del self.partitions[known]

    async def read_on(self, place: LogPlace, turns: OpenTurns, end: int) -> None:
        """Note everything up to `end`, or to where the partition is being followed."""
        for _ in range(ATTEMPTS_MAX):
            if turns.known_to < end:
                async for records in self._log_client.read(place.topic, place.partition, turns.known_to, end):
                    for record in records:
                        turns.note(record.offset, record.key, record.value)
                    await asyncio.sleep(0)
                turns.passed(end)
            position = self._reader.position(place)
            if position is None or position <= turns.known_to:
                self._reader.note_turns(place, turns)
                return
            end = position
        raise LogUnavailable("the log moves on faster than it can be read")
