"""The sessions whose worker wants to hear who follows them: looks at each a few times a second and publishes.

A hub makes itself known when a turn that wants word opens; from then on it is looked at until no such turn is open or
the hub is dropped (30 s after its last device left, by when that has been said). Nothing is done for other sessions,
nothing at all while there are none. What cannot be published is dropped: the next report says everything again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

import structlog

from gateway.fetching.decisions.resume_cursor import SignedPosition
from gateway.hubs.decisions.follower_reports import BETWEEN_S, NOT_KNOWN, PUBLISH_S, FollowerReports, Followers
from gateway.hubs.session_hub import SessionHub
from gateway.hubs.session_hubs import SessionHubs
from infra.clock import Clock
from producers.errors import ProducerError
from schemas.identifiers import SessionKey, UserId
from schemas.prompts import SessionWatched

__all__ = ["ReaderReports", "ReportPublisher"]

log = structlog.get_logger(__name__)

UNDER_WAY_MAX: Final = 1_024
"""Reports without an acknowledgement; what is due beyond that is dropped."""


class ReportPublisher(Protocol):
    """The way to the worker (`producers.prompt_producer.PromptProducer`)."""

    async def watched(self, command: SessionWatched, *, deadline_s: float | None = None) -> None:
        """Publish a report. Raises ProducerError."""


@dataclass(slots=True)
class ReportedSession:
    """One session that is looked at."""

    user: UserId
    session: str
    reports: FollowerReports = field(default_factory=FollowerReports)


class ReaderReports:
    """All reports of one gateway. `gateway` names this process to the workers."""

    def __init__(self, publisher: ReportPublisher, clock: Clock, *, gateway: str) -> None:
        self._publisher = publisher
        self._clock = clock
        self._gateway = gateway
        self.watched: dict[SessionKey, ReportedSession] = {}
        self._wanted = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()

    def heed(self, hub: SessionHub) -> None:
        """A turn of the session wants word (said again while one does)."""
        if hub.key not in self.watched:
            self.watched[hub.key] = ReportedSession(hub.user, hub.session)
            self._wanted.set()

    async def run(self, hubs: SessionHubs) -> None:
        """Look at the hubs and report until cancelled.

        Cancellation: reports under way may be published or not; `leave` says the last word.
        """
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._wanted.wait()
                for report in self.due(hubs):
                    if len(self._under_way) < UNDER_WAY_MAX:
                        task = tasks.create_task(self.publish(report))
                        self._under_way.add(task)
                        task.add_done_callback(self._under_way.discard)
                if not self.watched:
                    self._wanted.clear()
                await asyncio.sleep(BETWEEN_S)

    def due(self, hubs: SessionHubs) -> list[SessionWatched]:
        """What is to be told now; sessions that want no word any more are forgotten."""
        now_s = self._clock.monotonic_s()
        reports: list[SessionWatched] = []
        for key, watched in list(self.watched.items()):
            hub = hubs.hubs.get(key)
            wish = hub.reading.wish if hub is not None else None
            if hub is not None and wish is not None:
                word = watched.reports.due(seen_at(hub, read=wish.pace), wish, now_s)
            else:
                del self.watched[key]
                word = watched.reports.farewell() if hub is None else None
            if word is not None:
                reports.append(self.command(watched, word))
        return reports

    async def leave(self) -> None:
        """Say of every session that nobody follows it here any more. Bounded by PUBLISH_S.

        Cancellation: some have been told.
        """
        reports = list(self.farewells())
        await asyncio.gather(*(self.publish(report) for report in reports[:UNDER_WAY_MAX]))

    def farewells(self) -> Iterator[SessionWatched]:
        for watched in self.watched.values():
            word = watched.reports.farewell()
            if word is not None:
                yield self.command(watched, word)
        self.watched.clear()

    def command(self, watched: ReportedSession, word: Followers) -> SessionWatched:
        return SessionWatched(
            user=watched.user,
            session=watched.session,
            gateway=self._gateway,
            devices=word.devices,
            read_offset=word.read_offset,
        )

    async def publish(self, report: SessionWatched) -> None:
        try:
            await self._publisher.watched(report, deadline_s=PUBLISH_S)
        except ProducerError as error:
            log.info("watch_report_dropped", error=error.code)


def seen_at(hub: SessionHub, *, read: bool) -> Followers:
    """Who follows the session now; `read`: and how far the fastest of them has been written."""
    if not read or not hub.holders:
        return Followers(len(hub.holders))
    positions = (hub.read(holder.written_cursor) for holder in hub.holders)
    offsets = (said.position.offset for said in positions if isinstance(said, SignedPosition))
    return Followers(len(hub.holders), max(offsets, default=NOT_KNOWN))
