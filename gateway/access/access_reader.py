"""Reads logouts and used tickets from their logs, for the access desk.

Logouts are read from the log's start before the first client is let in: a token that was ended must not open a gateway
that has just been started. Tickets and sign-in codes live for minutes at most, so theirs is read from a little while
ago. Both are then followed by the reader that fetches the sessions. Where a position is lost, reading begins where it
began at the start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

import structlog

from gateway.access.access_desk import USES_KEPT_S, AccessDesk
from gateway.fetching.decisions.resume_cursor import GapReason
from gateway.fetching.log_reader import LogReader, PastReader
from infra.async_waits import end_tasks
from infra.clock import Clock
from infra.decisions.backoff import Backoff
from infra.kafka.log_client import LogError, LogRecord, UnknownLog
from schemas.identifiers import SessionKey
from schemas.topics import LogPlace, TopicNames

__all__ = ["AccessReader", "TimedReader"]

log = structlog.get_logger(__name__)

ACCESS_BACKOFF: Final = Backoff(1.0)
EVERYBODY: Final = SessionKey("access")
PARTITION: Final = 0


class TimedReader(PastReader, Protocol):
    """Also finds offsets by time (`infra.kafka.log_client.LogClient`)."""

    async def offset_at(self, topic: str, partition: int, timestamp_ms: int) -> int:
        """The first offset stamped at or after a time, else the end. Raises LogError."""


class AccessReader:
    """Keeps the desk up to date."""

    def __init__(self, reader: LogReader, past: TimedReader, desk: AccessDesk, clock: Clock, names: TopicNames) -> None:
        self.reader = reader
        self.past = past
        self.desk = desk
        self.clock = clock
        self.names = names
        self.hear = {names.access: desk.hear_logout, names.tickets: desk.hear_claim}
        self.topics = tuple(self.hear)
        self.missing = set(self.topics)
        self.wanted = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read what there is, then follow. Raises LogUnavailable; topics that are not there yet are waited for."""
        await self.follow_missing()
        self.task = asyncio.create_task(self.keep_following(), name="access-reader")

    async def stop(self) -> None:
        """Hear nothing more."""
        await end_tasks(self.task)
        for topic in self.topics:
            self.reader.unfollow(place_of(topic), EVERYBODY)

    async def keep_following(self) -> None:
        while True:
            await self.wanted.wait()
            await asyncio.sleep(ACCESS_BACKOFF.pause_s())
            try:
                await self.follow_missing()
            except LogError as error:
                log.info("access_not_followed", error=type(error).__name__)

    async def follow_missing(self) -> None:
        self.wanted.clear()
        for topic in sorted(self.missing):
            try:
                await self.follow(topic)
            except UnknownLog:
                log.warning("access_topic_missing", topic=topic)
                self.wanted.set()
            except LogError:
                self.wanted.set()
                raise

    async def follow(self, topic: str) -> None:
        bounds = await self.past.bounds(topic, PARTITION)
        start = bounds.start
        if topic == self.names.tickets:
            since_ms = max(0, self.clock.now_us() // 1_000 - round(USES_KEPT_S * 1_000))
            start = await self.past.offset_at(topic, PARTITION, since_ms)
        async for records in self.past.read(topic, PARTITION, start, bounds.end):
            for record in records:
                self.hear[topic](record)
        self.missing.discard(topic)
        self.reader.follow(place_of(topic), EVERYBODY, max(start, bounds.end), Listener(self, topic))


class Listener:
    """A `LogFollower` of one topic."""

    def __init__(self, owner: AccessReader, topic: str) -> None:
        self.owner = owner
        self.topic = topic

    def deliver(self, records: Sequence[LogRecord]) -> None:
        """See `LogFollower.deliver`."""
        for record in records:
            self.owner.hear[self.topic](record)

    def lost(self, reason: GapReason) -> None:
        """See `LogFollower.lost`."""
        log.warning("access_log_lost", topic=self.topic, reason=reason)
        if self.topic == self.owner.names.access:
            self.owner.desk.start_over()
        self.owner.missing.add(self.topic)
        self.owner.wanted.set()

    def expects_records(self) -> bool:
        """See `LogFollower.expects_records`."""
        return True


def place_of(topic: str) -> LogPlace:
    """Every record is for one follower, whatever its key."""
    return LogPlace(topic, PARTITION, shared=False)
