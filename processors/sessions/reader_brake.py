"""Holds one turn's read from the provider back while its readers are behind."""

from __future__ import annotations

import asyncio
from typing import assert_never

from infra.async_waits import set_within
from infra.clock import Clock
from processors.sessions.decisions.presence import SessionPresence
from processors.sessions.decisions.reader_pace import GoOn, PaceLimits, ReaderPace, Wait

__all__ = ["ReaderBrake"]


class ReaderBrake:
    """Hears of appends and of readers; whoever reads from the provider asks for passage."""

    def __init__(self, presence: SessionPresence, clock: Clock, limits: PaceLimits) -> None:
        self._presence = presence
        self._clock = clock
        self._pace = ReaderPace(limits, clock.monotonic_s())
        self._heard = asyncio.Event()
        self._released = False
        self._held_before_s = 0.0
        self._holding_since_s: float | None = None

    def held_s(self) -> float:
        """Seconds for which it has held so far."""
        since_s = self._holding_since_s
        return self._held_before_s + (self._clock.monotonic_s() - since_s if since_s is not None else 0.0)

    def appended(self, offset: int, size_bytes: int) -> None:
        """So much was appended at this offset of the session's log."""
        self._pace.append(offset, size_bytes)

    def hear(self) -> None:
        """A gateway has told something about the readers."""
        self._heard.set()

    def let_go(self) -> None:
        """Nothing more is appended: there is nothing to wait for."""
        self._released = True
        self._heard.set()

    async def passage(self) -> None:
        """Return when the next batch may be read: at once, as a rule.

        Cancellation: changes nothing.
        """
        self._released = False
        while not self._released:
            now_s = self._clock.monotonic_s()
            attended, read_offset = self._presence.attended(now_s), self._presence.fastest(now_s)
            match self._pace.look(read_offset=read_offset, attended=attended, now_s=now_s):
                case GoOn():
                    return
                case Wait(look_at_s):
                    await self.hold(look_at_s - now_s)
                case unreachable:
                    assert_never(unreachable)

    async def hold(self, limit_s: float) -> None:
        self._heard.clear()
        self._holding_since_s = self._clock.monotonic_s()
        try:
            await set_within(self._heard, limit_s)
        finally:
            self._held_before_s, self._holding_since_s = self.held_s(), None
