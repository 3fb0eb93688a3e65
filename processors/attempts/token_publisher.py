"""Appends an attempt's chunks to the session's log: one append in flight, what arrives meanwhile goes into the next.

The first chunk leaves at once; under load records grow while their number falls, and no timer delays anything. The
bytes that wait are bounded: `offer` then holds its caller back, and with it the read from the provider.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Final

from infra.async_waits import end_tasks
from infra.clock import Clock
from processors.sessions.reader_brake import ReaderBrake
from processors.sessions.session_writer import SessionWriter
from schemas.session_events import TokensEmitted
from schemas.turn_fold import Verdict

__all__ = ["PENDING_BYTES_MAX", "RunVoided", "TokenPublisher"]

PENDING_BYTES_MAX: Final = 262_144
RECORD_TEXT_BYTES_MAX: Final = 32_768  # even if every byte needs an escape of six, a record stays below 256 KiB
CHUNK_OVERHEAD_BYTES: Final = 32


class RunVoided(Exception):
    """Another owner of the session took the turn over; this run must not write any more."""


@dataclass(eq=False)
class TokenPublisher:
    """Publishes one run. Use as a context manager: it owns a task, which ends with it."""

    writer: SessionWriter
    clock: Clock
    _: KW_ONLY
    turn: str
    attempt: int
    run: str
    since_ms: int
    next_seq: int = 0
    """The number of the run's next chunk."""
    brake: ReaderBrake | None = None
    """Hears of every append, and holds `offer` back while the answer's readers are behind."""
    on_logged: Callable[[Sequence[str], Sequence[int]], None] = lambda *_: None
    """Told of chunks and their gaps, in order, once the log has acknowledged them."""
    _chunks: list[str] = field(default_factory=list, init=False)
    _gaps_us: list[int] = field(default_factory=list, init=False)
    _sizes: list[int] = field(default_factory=list, init=False)
    pending_bytes: int = field(default=0, init=False)
    published_at_us: int = field(default=0, init=False)
    """When the first record was acknowledged; 0 before."""
    _closing: bool = field(default=False, init=False)
    _wake: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _room: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    pump: asyncio.Task[None] | None = field(default=None, init=False)

    async def __aenter__(self) -> TokenPublisher:
        self.pump = asyncio.create_task(self.publish_what_waits(), name=f"publish-{self.turn}")
        return self

    async def __aexit__(self, *_: object) -> None:
        await end_tasks(self.pump)

    async def offer(self, chunks: list[str], gaps_us: list[int]) -> None:
        """Queue chunks; waits while PENDING_BYTES_MAX are queued, and while the brake holds.

        Raises RunVoided, AppendFailed.
        """
        for chunk in chunks:
            size = len(chunk.encode(errors="replace")) + CHUNK_OVERHEAD_BYTES
            self._sizes.append(size)
            self.pending_bytes += size
        self._chunks += chunks
        self._gaps_us += gaps_us
        self._wake.set()
        self.raise_failure()
        if self.pending_bytes > PENDING_BYTES_MAX:
            self._room.clear()
            await self._room.wait()
            self.raise_failure()
        if self.brake is not None:
            await self.brake.passage()
            self.raise_failure()

    async def finish(self) -> None:
        """Wait until everything offered is acknowledged. Raises RunVoided, AppendFailed."""
        self._closing = True
        self._wake.set()
        if self.pump is not None:
            await self.pump

    def raise_failure(self) -> None:
        """A pump that has failed makes no more room: say so instead of waiting for it."""
        if self.pump is not None and self.pump.done():
            self.pump.result()

    async def publish_what_waits(self) -> None:
        try:
            while self._chunks or not self._closing:
                if not self._chunks:
                    self._wake.clear()
                    await self._wake.wait()
                    continue
                await self.publish(self.take_record())
        finally:
            self._room.set()
            if self.brake is not None:
                self.brake.let_go()

    async def publish(self, record: TokensEmitted) -> None:
        verdicts, offset = await self.writer.append([record], since_ms=self.since_ms, certain=False)
        if verdicts[0] not in (Verdict.EFFECTIVE, Verdict.REPEATED):
            raise RunVoided(f"turn {self.turn}, attempt {self.attempt}: {verdicts[0].value}")
        self.on_logged(record.chunks, record.gaps_us)
        if self.brake is not None:
            self.brake.appended(offset, sum(map(len, record.chunks)))
        self.published_at_us = self.published_at_us or self.clock.now_us()
        if self.pending_bytes <= PENDING_BYTES_MAX:
            self._room.set()

    def take_record(self) -> TokensEmitted:
        count, size = 0, 0
        for chunk_size in self._sizes:
            if count and size + chunk_size > RECORD_TEXT_BYTES_MAX:
                break
            count, size = count + 1, size + chunk_size
        record = TokensEmitted(
            turn=self.turn,
            attempt=self.attempt,
            run=self.run,
            seq=self.next_seq,
            chunks=tuple(self._chunks[:count]),
            gaps_us=tuple(self._gaps_us[:count]),
            at_us=self.clock.now_us(),
        )
        del self._chunks[:count], self._gaps_us[:count], self._sizes[:count]
        self.pending_bytes -= size
        self.next_seq += count
        return record
