"""Tells gateways, on `tokenwire.activity`, in which sessions something happens.

Said after the record that it speaks of is acknowledged, never waited for: a turn is not a millisecond slower for it.
What can't be delivered is dropped; gateways look at silent sessions now and then anyhow.
"""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from infra.clock import Clock
from processors.writing.log_appender import AppendFailed, AppendRefused, LogAppender
from processors.writing.word_queue import WordQueue
from schemas.activity import ActivityKind, SessionActivity
from schemas.codec import encode
from schemas.identifiers import SessionKey
from schemas.topics import record_partition

__all__ = ["RUNNING_EVERY_S", "ActivityTeller"]

log = structlog.get_logger(__name__)

RUNNING_EVERY_S: Final = 30.0
"""How often it is said that an answer still grows."""
DELIVERY_S: Final = 5.0
"""A word that is not acknowledged by then is given up: what it says is old."""


class ActivityTeller:
    """Says each word once what it speaks of is on the log."""

    def __init__(self, appender: LogAppender, clock: Clock) -> None:
        self._appender = appender
        self.clock = clock
        self._words: WordQueue[SessionActivity] = WordQueue(self.deliver_all, name="activity-teller")

    def tell(self, key: str, kind: ActivityKind, *, newest_offset: int, first_offset: int = -1) -> None:
        """Say it soon."""
        now_us = self.clock.now_us()
        self._words.say(
            SessionActivity(key=key, kind=kind, newest_offset=newest_offset, first_offset=first_offset, at_us=now_us)
        )

    def refuse(self, key: str, prompt_id: str, *, retry_after_s: float) -> None:
        """Say soon that a session has no log, and that this prompt of it is not answered for that."""
        self._words.say(
            SessionActivity(
                key=key,
                kind="refused",
                newest_offset=-1,
                at_us=self.clock.now_us(),
                prompt_id=prompt_id,
                retry_after_s=retry_after_s,
            )
        )

    async def aclose(self) -> None:
        """See `WordQueue.aclose`."""
        await self._words.aclose()

    async def deliver_all(self, words: list[SessionActivity]) -> None:
        """Send what has gathered, all at once."""
        try:
            async with asyncio.timeout(DELIVERY_S):
                outcomes = await asyncio.gather(*(self.deliver(word) for word in words))
        except TimeoutError:
            outcomes = [False] * len(words)
        if not all(outcomes):
            log.info("activity_not_told", words=outcomes.count(False))

    async def deliver(self, word: SessionActivity) -> bool:
        key = SessionKey(word.key)
        try:
            topic = self._appender.names.activity
            await self._appender.append(topic, record_partition(key), encode(word), key=key.encode())
        except (AppendFailed, AppendRefused):
            return False
        return True
