"""Hears from the workers in which sessions something happens: reads `tokenwire.activity` from its end on.

It rides on the reader that fetches the sessions, as twelve more partitions, so a word comes as fast as a record does.
Nothing depends on it but speed (`decisions/active_set.py`): where the topic can't be read, or has lost the position in
a long outage, reading begins at its end again, and what was missed is found by looking.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from gateway.fetching.active_sessions import ActiveSessions
from gateway.fetching.decisions.resume_cursor import GapReason
from gateway.fetching.log_reader import LogReader, PastReader
from infra.async_waits import end_tasks
from infra.decisions.backoff import Backoff
from infra.kafka.log_client import LogError, LogRecord
from schemas.codec import decode_activity
from schemas.errors import MalformedRecord
from schemas.identifiers import SessionKey
from schemas.topics import RECORD_PARTITIONS, LogPlace

__all__ = ["ActivityReader"]

log = structlog.get_logger(__name__)

ACTIVITY_BACKOFF: Final = Backoff(1.0)
"""Between attempts to learn where the topic ends."""
WHOLE_PARTITION: Final = SessionKey("activity")


class ActivityReader:
    """Tells `sessions` what it hears on `topic`."""

    def __init__(self, reader: LogReader, past: PastReader, sessions: ActiveSessions, topic: str) -> None:
        self._reader = reader
        self._past = past
        self._sessions = sessions
        self._topic = topic
        self.missing = set(range(RECORD_PARTITIONS))
        """Partitions that are not followed yet, or not any more."""
        self.wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin; the topic need not be there yet."""
        self.wanted.set()
        self._task = asyncio.create_task(self.follow_missing(), name="activity-reader")

    async def stop(self) -> None:
        """Hear nothing more."""
        await end_tasks(self._task)
        for partition in range(RECORD_PARTITIONS):
            self._reader.unfollow(self.place_of(partition), WHOLE_PARTITION)

    async def follow_missing(self) -> None:
        while True:
            await self.wanted.wait()
            self.wanted.clear()
            try:
                for partition in sorted(self.missing):
                    end = await self._past.end(self._topic, partition)
                    place = self.place_of(partition)
                    self._reader.follow(place, WHOLE_PARTITION, end, Listener(self, partition))
                    self.missing.discard(partition)
            except LogError as error:
                log.info("activity_not_followed", error=type(error).__name__, partitions=len(self.missing))
                self.wanted.set()
                await asyncio.sleep(ACTIVITY_BACKOFF.pause_s())

    def take(self, record: LogRecord) -> None:
        """Hear one word. What does not decode is passed over: it is a hint."""
        if record.key is None or record.value is None:
            return
        key = SessionKey(record.key.decode("ascii", "replace"))
        if not self._sessions.knows(key):
            return
        try:
            word = decode_activity(record.value)
        except MalformedRecord as error:
            log.warning("activity_unreadable", offset=record.offset, reason=str(error))
            return
        self._sessions.told(key, word)

    def place_of(self, partition: int) -> LogPlace:
        """Every record of the partition is for one follower, whatever its key."""
        return LogPlace(self._topic, partition, shared=False)


class Listener:
    """A `LogFollower` of one partition."""

    def __init__(self, owner: ActivityReader, partition: int) -> None:
        self._owner = owner
        self._partition = partition

    def deliver(self, records: Sequence[LogRecord]) -> None:
        """See `LogFollower.deliver`."""
        for record in records:
            self._owner.take(record)

    def lost(self, reason: GapReason) -> None:
        """See `LogFollower.lost`: begin at the end again."""
        log.info("activity_lost", partition=self._partition, reason=reason)
        self._owner.missing.add(self._partition)
        self._owner.wanted.set()

    def expects_records(self) -> bool:
        """See `LogFollower.expects_records`."""
        return True
