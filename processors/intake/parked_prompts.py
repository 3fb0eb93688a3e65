"""Prompts whose session's topic cannot be made at the moment: they wait outside the slots and lanes of intake.

A quota on new topics, a full disk of the controller, a cluster that answers nobody: for a new session that is weather,
and every other session goes on. So such a prompt gives its slot back and waits here, in memory, in its order within its
session, until its topic is there (asked for without any lock), or for UNMADE_S. Then, and at once where more than
`parked_bytes_max` wait, it ends in `error` as `unavailable`; nothing is kept of it but its record, so that it is a new
one when it is sent again. Its offset is committed only then: a worker that dies leaves it to the next.

Cancels and whatever else concerns its session are taken in as they come: a cancel of such a prompt is remembered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from infra.kafka.session_topics import SessionTopicRefused, SessionTopicsUnavailable
from processors.intake.delivery import Delivery
from processors.sessions.partition_tasks import CLUSTER_BACKOFF
from processors.sessions.session_lane import SessionLane
from processors.turns.worker_parts import WorkerParts
from schemas.identifiers import SessionKey

__all__ = ["UNMADE_S", "ParkedPrompts", "TopicUnmade"]

log = structlog.get_logger(__name__)

ASKED_S: Final = 1.0
"""How long a prompt is kept in its slot while its topic is made; from then on it waits here."""
UNMADE_S: Final = 180.0
"""As long as an append is tried."""


class TopicUnmade(Exception):
    """The session of a prompt has no topic yet, and none can be made at the moment. Field: key."""

    def __init__(self, key: SessionKey) -> None:
        super().__init__("the session's topic cannot be made at the moment")
        self.key = key


@dataclass(slots=True, eq=False)
class ParkedSession:
    """Those of one session, one after the other."""

    first: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the one that goes next."""
    prompts: int = 0


@dataclass(eq=False, kw_only=True)
class ParkedPrompts:
    """Those of one partition."""

    parts: WorkerParts
    _sessions: dict[SessionKey, ParkedSession] = field(default_factory=dict, init=False)
    _size_bytes: int = field(default=0, init=False)

    async def see_to_topic(self, lane: SessionLane) -> None:
        """Return once the lane's topic is there, or will not be had; to be called without the lane's lock.

        Raises TopicUnmade. Cancellation: the topic may be made all the same.
        """
        if lane.key in self._sessions:  # whoever came before it goes first
            raise TopicUnmade(lane.key)
        if lane.writer is not None and not lane.writer.lost:
            return
        if self._sessions:  # others wait for theirs already: this one asks outside its slot as well
            raise TopicUnmade(lane.key)
        try:
            async with asyncio.timeout(ASKED_S):
                await self.parts.topics.ensure(lane.key)
        except (SessionTopicsUnavailable, TimeoutError) as error:
            raise TopicUnmade(lane.key) from error
        except SessionTopicRefused:  # said where its prompt is taken in
            return
        if lane.key in self._sessions:  # that came to wait meanwhile
            raise TopicUnmade(lane.key)

    async def wait(
        self,
        key: SessionKey,
        delivery: Delivery,
        *,
        again: Callable[[], Awaitable[None]],
        give_up: Callable[[], Awaitable[None]],
    ) -> None:
        """Have a prompt taken in (`again`) once its topic is there, or ended (`give_up`).

        Cancellation: neither is done; the next owner reads the prompt again.
        """
        if self._size_bytes + delivery.size_bytes > self.parts.limits.parked_bytes_max:
            log.warning("prompt_not_parked", offset=delivery.offset, parked_bytes=self._size_bytes)
            await give_up()
            return
        until_s = self.parts.clock.monotonic_s() + UNMADE_S
        session = self._sessions.setdefault(key, ParkedSession())
        session.prompts += 1
        self._size_bytes += delivery.size_bytes
        log.info("prompt_parked", offset=delivery.offset, parked_bytes=self._size_bytes)
        try:
            async with session.first:  # each waits for UNMADE_S at most, from when it came
                while await self.made(key, until_s):
                    try:
                        await again()
                        return
                    except TopicUnmade:  # gone again meanwhile
                        await asyncio.sleep(CLUSTER_BACKOFF.pause_s())
                await give_up()
        finally:
            self._size_bytes -= delivery.size_bytes
            session.prompts -= 1
            if not session.prompts:
                del self._sessions[key]

    async def made(self, key: SessionKey, until_s: float) -> bool:
        """Whether the topic is there, or will not be had, before a moment."""
        while self.parts.clock.monotonic_s() < until_s:
            try:
                await self.parts.topics.ensure(key)
            except SessionTopicsUnavailable:
                await asyncio.sleep(CLUSTER_BACKOFF.pause_s())
            except SessionTopicRefused:
                return True
            else:
                return True
        return False
