"""The sessions that this gateway follows: opened on demand, shared by all connections, dropped when idle.

Opening a hub reads as much of the log as its fold needs (from a trusted cursor's `fold_from`; else from the log's
start, or in a shared partition from where `fetching/shared_past.py` says) up to the end, and joins the reader there.
Openings are shared and belong to the registry: a client that goes away in the middle does not disturb the others.
Memory: a hub that nobody holds is dropped after `IDLE_GRACE_S`, so that a page's reload still finds it.

A session that has no log yet has a hub as well, at the beginning of nothing; it follows its log once that has come
(`fetching/absent_sessions.py`). To follow a session makes no topic.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Final

import structlog

from gateway.fetching.absent_sessions import AbsentSessions
from gateway.fetching.decisions.resume_cursor import CursorKeys, CursorSigner, LogPosition, SignedPosition, epoch_digest
from gateway.fetching.log_reader import LogFinder, PastReader, SessionReader
from gateway.fetching.shared_past import SharedPast
from gateway.hubs.decisions.new_sessions import NewSessions
from gateway.hubs.decisions.session_messages import MESSAGE_BYTES_MAX, SessionReading, SessionTeller
from gateway.hubs.session_hub import RING_BYTES_MAX, SessionHub
from infra.async_waits import end_tasks
from infra.clock import Clock
from infra.kafka.log_client import LogRecord, LogUnavailable, UnknownLog
from infra.kafka.session_topics import SessionLog
from schemas.activity import SessionActivity
from schemas.identifiers import SessionId, SessionKey, UserId, session_key_of

__all__ = ["RINGS_BYTES_MAX", "SessionHubs", "SessionSource", "session_records", "unheard"]

log = structlog.get_logger(__name__)

IDLE_GRACE_S: Final = 30.0
JOIN_ATTEMPTS_MAX: Final = 100
RINGS_BYTES_MAX: Final = 100_663_296
"""Newest messages of all sessions together: with more than 384 sessions each keeps less."""
RING_BYTES_MIN: Final = 8_192
"""A session keeps so much in any case."""
OPENINGS_MAX: Final = 32
"""Logs that are read at once to open their sessions; others wait."""
RECORDS_AT_ONCE_MAX: Final = 512
"""Records folded before other work gets its turn."""
NOTHING_YET: Final = LogPosition(2**62)
"""Tell nothing: the past is folded without a word."""


def unheard(_: object) -> None:
    """For what nobody wants to hear of."""


@dataclass(frozen=True, slots=True)
class SessionSource:
    """Where hubs get their logs from."""

    topics: LogFinder
    log_client: PastReader
    reader: SessionReader
    keys: CursorKeys


@dataclass(eq=False)
class SessionHubs:
    """The registry of one gateway's hubs."""

    source: SessionSource
    clock: Clock
    _: KW_ONLY
    message_bytes_max: int = MESSAGE_BYTES_MAX
    rings_bytes_max: int = RINGS_BYTES_MAX
    on_relay: Callable[[int], None] = unheard
    on_holes: Callable[[int], None] = unheard
    on_wish: Callable[[SessionHub], None] = unheard
    on_forgotten: Callable[[str], None] = unheard
    """Told the topic of a session of which nothing is to stay."""
    hubs: dict[SessionKey, SessionHub] = field(default_factory=dict, init=False)
    _openings: dict[SessionKey, asyncio.Task[SessionHub]] = field(default_factory=dict, init=False)
    _reading: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(OPENINGS_MAX), init=False)

    def __post_init__(self) -> None:
        topics, reader = self.source.topics, self.source.reader
        self.past = SharedPast(self.source.log_client, reader)
        self.absent = AbsentSessions(topics, reader, self.clock, self.appeared, self.refused)

    def signer(self, key: SessionKey) -> CursorSigner:
        """The signer of a session's cursors."""
        hub = self.hubs.get(key)
        return hub.teller.signer if hub is not None else CursorSigner(self.source.keys, key)

    async def open(self, user: UserId, session: SessionId, said: SignedPosition | None) -> SessionHub:
        """The hub of a user's session, made if absent. `said`: a verified cursor that shows where folding may begin.

        Raises LogError, SessionTopicsError, TooManyAbsent. Cancellation: the opening goes on for others who wait.
        """
        key = session_key_of(user, session)
        hub = self.hubs.get(key)
        if hub is not None:
            hub.idle_since_s = None
            self.source.reader.attached(key)
            return hub
        opening = self._openings.get(key)
        if opening is None:
            opening = asyncio.create_task(self.make(user, session, said), name="session-opening")
            self._openings[key] = opening
            opening.add_done_callback(lambda done: self.opened(key, done))
        return await asyncio.shield(opening)

    def is_open(self, hub: SessionHub) -> bool:
        """Whether the hub is told of its log, and given to whoever opens its session."""
        return self.hubs.get(hub.key) is hub

    def opened(self, key: SessionKey, done: asyncio.Task[SessionHub]) -> None:
        self._openings.pop(key, None)
        if not done.cancelled() and done.exception() is not None:
            log.info("session_not_opened", error=type(done.exception()).__name__)

    async def make(self, user: UserId, session: SessionId, said: SignedPosition | None) -> SessionHub:
        key, source = session_key_of(user, session), self.source
        session_log = await self.absent.found(key, user, was_there=said is not None)
        if not session_log.epoch:
            return self.opened_hub(self.hub_of(user, session, session_log, b"", 0))
        epoch = epoch_digest(session_log.epoch)
        place = session_log.place
        try:
            bounds = await source.log_client.bounds(place.topic, place.partition)
        except UnknownLog:
            source.topics.forget(key)  # deleted since we heard of it: the next attach finds or makes it
            raise
        starts_at = bounds.start
        if said is not None and said.epoch == epoch and bounds.start <= said.fold_from <= bounds.end:
            starts_at = said.fold_from
        elif place.shared:
            starts_at = max(starts_at, await self.past.read_from(session_log, key, bounds.end))
        hub = self.hub_of(user, session, session_log, epoch, starts_at)
        async with self._reading:
            await self.join(hub, bounds.end)
        if place.shared:
            self.past.followed(session_log)
        return self.opened_hub(hub)

    def hub_of(
        self, user: UserId, session: SessionId, session_log: SessionLog, epoch: bytes, starts_at: int
    ) -> SessionHub:
        key = session_key_of(user, session)
        teller = SessionTeller(session, epoch, self.signer(key), message_bytes_max=self.message_bytes_max)
        tells_from = NOTHING_YET if epoch else LogPosition(0)
        reading = SessionReading(teller, starts_at=starts_at, tells_from=tells_from)
        hub = SessionHub(
            key,
            session_log,
            teller,
            reading,
            user=user,
            on_lost=self.lose,
            on_relay=self.on_relay,
            on_holes=self.on_holes,
            on_wish=self.on_wish,
        )
        hub.ring.bound(self.ring_bytes_max())
        return hub

    def opened_hub(self, hub: SessionHub) -> SessionHub:
        hub.idle_since_s = self.clock.monotonic_s()
        self.hubs[hub.key] = hub
        hub.heed()
        return hub

    def appeared(self, key: SessionKey, session_log: SessionLog) -> None:
        """The log of a session that had none is there: follow it from its beginning."""
        hub = self.hubs.get(key)
        if hub is None or not hub.is_absent:
            return
        hub.found(session_log, epoch_digest(session_log.epoch))
        if self.source.reader.follow(session_log.place, key, 0, hub):
            hub.joined(self.source.reader)
        else:
            hub.lost("log_lost")

    def refused(self, key: SessionKey, word: SessionActivity) -> None:
        """A worker may not make the log of a session that has none."""
        hub = self.hubs.get(key)
        if hub is not None and hub.is_absent:
            hub.refused(word.prompt_id, word.retry_after_s)

    def begin(self, hub: SessionHub, new_sessions: NewSessions) -> float:
        """A prompt is about to go out: 0, or, where it would begin one new session too many, the seconds to wait."""
        if not hub.is_absent:
            return 0.0
        wait_s = 0.0
        if not self.absent.logs.was_prompted(hub.key):
            wait_s = new_sessions.begin(hub.user, self.clock.monotonic_s())
        if not wait_s:
            self.absent.prompted(hub.key)
        return wait_s

    async def join(self, hub: SessionHub, end: int) -> None:
        """Fold the past and follow from there, catching up while others move a shared partition on."""
        source, place, reading = self.source, hub.place, hub.reading
        for _ in range(JOIN_ATTEMPTS_MAX):
            async for records in session_records(source.log_client, hub.log, hub.key, reading.position.offset, end):
                for record in records:
                    reading.take(record.offset, record.value)
            reading.passed(end)
            if source.reader.follow(place, hub.key, reading.position.offset, hub):
                break
            end = max(source.reader.position(place) or 0, await source.log_client.end(place.topic, place.partition))
        else:
            raise LogUnavailable("the log moves on faster than it can be read")
        reading.tells_from = reading.position
        hub.joined(source.reader)

    def ring_bytes_max(self) -> int:
        """A session's share of the memory for newest messages."""
        return max(RING_BYTES_MIN, min(RING_BYTES_MAX, self.rings_bytes_max // max(1, len(self.hubs))))

    def drop(self, hub: SessionHub) -> None:
        """Forget a hub: nobody needs it, or its log is lost."""
        self.source.reader.unfollow(hub.place, hub.key)
        self.absent.leave(hub.key)
        if self.is_open(hub):
            del self.hubs[hub.key]

    def lose(self, hub: SessionHub) -> None:
        """Drop a hub whose log is gone or was made anew, and ask the cluster about it next time."""
        self.drop(hub)
        self.forget_log(hub)

    def forget_log(self, hub: SessionHub) -> None:
        self.source.topics.forget(hub.key)
        if not hub.place.shared:
            self.on_forgotten(hub.place.topic)

    def all(self) -> list[SessionHub]:
        """Those that are open now."""
        return list(self.hubs.values())

    def sweep(self, hubs: Sequence[SessionHub], now_s: float) -> int:
        """Drop those of them that have been idle for the grace time, and share out the memory.

        Call for each every second or so. Returns how many were dropped.
        """
        ring_bytes_max, dropped = self.ring_bytes_max(), 0
        for hub in hubs:
            if not self.is_open(hub):
                continue
            hub.ring.bound(ring_bytes_max)
            hub.joined_frames = None
            if hub.holders:
                hub.idle_since_s = None
            elif hub.idle_since_s is None:
                hub.idle_since_s = now_s
            elif now_s - hub.idle_since_s > IDLE_GRACE_S:
                self.drop(hub)
                if not hub.place.shared:
                    self.forget_log(hub)  # of a session that nobody needs nothing stays
                dropped += 1
        return dropped

    async def close(self) -> None:
        """End openings and forget everything."""
        await self.absent.close()
        await end_tasks(*self._openings.values())
        for hub in list(self.hubs.values()):
            self.drop(hub)


async def session_records(
    log_client: PastReader, session_log: SessionLog, key: SessionKey, start: int, end: int
) -> AsyncIterator[list[LogRecord]]:
    """The session's own records with start ≤ offset < end, in batches small enough to fold in one go."""
    place, raw_key = session_log.place, key.encode()
    async for batch in log_client.read(place.topic, place.partition, start, end):
        own = [record for record in batch if record.key == raw_key] if place.shared else batch
        for first in range(0, len(own), RECORDS_AT_ONCE_MAX):
            yield own[first : first + RECORDS_AT_ONCE_MAX]
            await asyncio.sleep(0)
