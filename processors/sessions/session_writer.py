"""The single writer of one session's log, which knows at each append whether it is still the single one.

In the dedicated layout an append that lands exactly where the last one ended proves that nobody wrote in between; any
other offset, and every append that must be certain in the shared layout, is checked by reading the log back. The
fold then says whether the record counts: a worker that was frozen past its time finds out here, before it calls a
provider or ends a turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

import structlog

from infra.kafka.log_client import LogClient, LogError, LogRecord, LogUnavailable, UnknownLog
from infra.kafka.session_topics import SessionLog
from processors.writing.activity_teller import RUNNING_EVERY_S, ActivityTeller
from processors.writing.log_appender import IsGone, LogAppender, LogGone
from schemas.activity import ActivityKind
from schemas.codec import decode_session_event, encode
from schemas.errors import MalformedRecord
from schemas.identifiers import SessionKey
from schemas.session_events import (
    PromptRefused,
    SessionEvent,
    TokensEmitted,
    TurnEnded,
    TurnHedged,
    TurnQueued,
    TurnStarted,
)
from schemas.turn_fold import FoldedTurn, SessionFold, Verdict

__all__ = ["LogReplaced", "SessionWriter"]

log = structlog.get_logger(__name__)

CLOCK_SLACK_MS: Final = 1_000
"""How far the clocks of two brokers may differ when an offset is looked up by time."""

TURNS_STAMPED_MAX: Final = 256
"""More than a session's turns that run side by side."""

LIFECYCLE: Final[dict[type[SessionEvent], ActivityKind]] = {
    TurnQueued: "queued",
    TurnStarted: "started",
    TurnEnded: "ended",
    PromptRefused: "ended",
}


class LogReplaced(LogError):
    """The log was deleted, perhaps created anew: what was folded tells nothing about it any more."""


class SessionWriter:
    """Appends events to a session's log and folds them."""

    def __init__(
        self,
        key: SessionKey,
        session_log: SessionLog,
        *,
        appender: LogAppender,
        reader: LogClient,
        is_gone: IsGone,
        activity: ActivityTeller | None = None,
    ) -> None:
        self._is_gone = is_gone
        self._activity = None if session_log.place.shared else activity
        self._told_at_s = 0.0
        """When gateways were last told that something happens here."""
        self.key = key.encode()
        self.place = session_log.place
        self._appender = appender
        self.reader = reader
        self.fold = SessionFold()
        self._synced = False
        """Whether the fold covers the log from where it began up to `fold.next_offset`."""
        self._folding = asyncio.Lock()
        self._appending = 0
        """Appends under way that will want to know how their records were read."""
        self.read_verdicts: dict[int, Verdict] = {}
        """Verdicts on records that were read back meanwhile, for an append that is acknowledged before it folds."""
        self.newest_us: dict[str, int] = {}
        """The broker's stamp of the newest record of a turn's attempt that others wrote; of the newest turns."""
        self.lost = False
        """Whether its log turned out to be gone; a new writer has to be opened."""

    async def append(
        self, events: Sequence[SessionEvent], *, since_ms: int, certain: bool = True
    ) -> tuple[list[Verdict], int]:
        """Append events in order; returns the fold's verdict on each, and the offset of the first.

        `since_ms`: no record of the turn concerned is older; bounds what is read back. `certain`: do not return
        before it is known that the verdict holds (in the shared layout that costs a read).
        Raises AppendFailed, AppendRefused, LogReplaced, LogError. Cancellation: the events may be on the log.
        """
        wanted = certain or not self.place.shared
        self._appending += wanted
        try:
            return await self.append_and_fold(events, since_ms=since_ms, wanted=wanted)
        finally:
            self._appending -= wanted
            if not self._appending:
                self.read_verdicts.clear()

    async def append_and_fold(
        self, events: Sequence[SessionEvent], *, since_ms: int, wanted: bool
    ) -> tuple[list[Verdict], int]:
        try:
            offsets = await self._appender.append_all(
                self.place.topic,
                self.place.partition,
                [encode(event) for event in events],
                key=self.key if self.place.shared else None,
                is_gone=self._is_gone,
            )
        except LogGone as error:
            raise self.replaced() from error
        if self._activity is not None:
            self.tell(self._activity, events, offsets)
        if not wanted:
            return [Verdict.EFFECTIVE] * len(events), offsets[0]
        async with self._folding:
            return await self.verdicts_of(events, offsets, since_ms=since_ms), offsets[0]

    def tell(self, activity: ActivityTeller, events: Sequence[SessionEvent], offsets: list[int]) -> None:
        """Tell gateways that these events are on the log, if that is news to those who do not read it."""
        kind: ActivityKind = next((LIFECYCLE[type(event)] for event in events if type(event) in LIFECYCLE), "running")
        now_s = activity.clock.monotonic_s()
        if kind == "running" and now_s < self._told_at_s + RUNNING_EVERY_S:
            return
        self._told_at_s = now_s
        first = min((turn.first_offset for turn in self.fold.open_turns()), default=-1)
        activity.tell(self.key.decode(), kind, newest_offset=offsets[-1], first_offset=first)

    async def sync(self, *, since_ms: int) -> None:
        """Fold what the log holds from `since_ms` to its end. Raises LogError."""
        end = await self._end()
        async with self._folding:
            await self.read_to(end, since_ms=since_ms)

    def folded(self, turn: str) -> FoldedTurn | None:
        """The turn as the log shows it, as far as it was folded."""
        return self.fold.turns.get(turn)

    def newest_at_us(self, turn: str) -> int:
        """The broker's stamp of the newest record of a turn's attempt that another worker wrote; 0: there is none."""
        return self.newest_us.get(turn, 0)

    def is_refused(self, turn: str, prompt_id: str, try_offset: int) -> bool:
        """Whether a refusal has taken a turn of this sending back, as far as the log was folded."""
        return not self.fold.stands(turn) and self.fold.is_refused(prompt_id, turn, try_offset)

    async def read_since(self, since_ms: int) -> SessionFold:
        """A fold with texts of what the log holds from then on, whatever was folded before. Raises LogError."""
        end = await self._end()
        return await self.records_between(await self._start_of(since_ms), end)

    async def refusal_of(self, prompt_id: str) -> PromptRefused | None:
        """The newest refusal of a prompt; None: it is not on the log any more. Raises LogError."""
        known = self.fold.refused.get(prompt_id)
        if known is None:
            return None
        fold = await self.records_between(known.first_offset, known.first_offset + 1)
        return fold.refused[prompt_id].event if prompt_id in fold.refused else None

    async def records_between(self, start: int, end: int) -> SessionFold:
        """A fold with texts of this session's records with start ≤ offset < end. Raises LogError."""
        fold = SessionFold(keep_text=True)
        async for records in self.reader.read(self.place.topic, self.place.partition, start, end):
            for record in records:
                self.take(record, fold)
        return fold

    async def texts_of(self, turns: Iterable[str]) -> dict[str, str]:
        """What these turns, as far as they are on the log, have said. Raises LogError."""
        known = {turn: folded for turn in turns if (folded := self.folded(turn)) is not None}
        if not known:
            return {}
        start = min(folded.first_offset for folded in known.values())
        fold = await self.records_between(start, self.fold.next_offset)
        return {turn: fold.turns[turn].text for turn in known if turn in fold.turns}

    async def verdicts_of(self, events: Sequence[SessionEvent], offsets: list[int], *, since_ms: int) -> list[Verdict]:
        if not self.place.shared and self.nothing_between(offsets):
            self._synced = True
            return [self.fold.apply(event, offset) for event, offset in zip(events, offsets, strict=True)]
        await self.read_to(offsets[-1] + 1, since_ms=since_ms)
        if not all(offset in self.read_verdicts for offset in offsets):  # folded up to there, but not these records
            raise self.replaced()
        read = [self.read_verdicts.pop(offset) for offset in offsets]
        return [
            Verdict.EFFECTIVE if self.counts(event) else verdict for event, verdict in zip(events, read, strict=True)
        ]

    def counts(self, event: SessionEvent) -> bool:
        """Whether an event that was read back counts: sent again, it may lie on the log twice, and one is enough."""
        match event:
            case TurnStarted():
                folded = self.folded(event.turn)
                return folded is not None and folded.ended is None and folded.run == event.run
            case TurnHedged():
                folded = self.folded(event.turn)
                return folded is not None and folded.ended is None and event in folded.hedges
            case TurnEnded():
                folded = self.folded(event.turn)
                return folded is not None and folded.ended == event
            case _:
                return False

    async def _end(self) -> int:
        try:
            return await self.reader.end(self.place.topic, self.place.partition)
        except UnknownLog as error:
            if await self._is_gone():
                raise self.replaced() from error
            raise LogUnavailable(f"{self.place.topic} is there, and its broker does not know it yet") from error

    async def _start_of(self, since_ms: int) -> int:
        timestamp_ms = max(0, since_ms - CLOCK_SLACK_MS)
        return await self.reader.offset_at(self.place.topic, self.place.partition, timestamp_ms)

    def replaced(self) -> LogReplaced:
        self.lost = True
        return LogReplaced(f"{self.place.topic} was deleted or created anew")

    def nothing_between(self, offsets: list[int]) -> bool:
        expected = self.fold.next_offset if self._synced else 0
        return offsets == list(range(expected, expected + len(offsets)))

    async def read_to(self, end: int, *, since_ms: int) -> None:
        if not self._synced:
            start = await self._start_of(since_ms)
            self.fold.next_offset = max(self.fold.next_offset, min(start, end))
            self._synced = True
        async for records in self.reader.read(self.place.topic, self.place.partition, self.fold.next_offset, end):
            for record in records:
                verdict = self.take(record, self.fold)
                if verdict is not None and self._appending:
                    self.read_verdicts[record.offset] = verdict
        self.fold.next_offset = max(self.fold.next_offset, end)

    def take(self, record: LogRecord, fold: SessionFold) -> Verdict | None:
        if record.value is None or (self.place.shared and record.key != self.key):
            return None
        try:
            event = decode_session_event(record.value)
        except MalformedRecord:
            log.error("session_record_unreadable", topic=self.place.topic, offset=record.offset)
            return None
        verdict = fold.apply(event, record.offset)
        if fold is self.fold and verdict is Verdict.EFFECTIVE and isinstance(event, TurnStarted | TokensEmitted):
            self.newest_us.pop(event.turn, None)
            self.newest_us[event.turn] = record.timestamp_ms * 1_000
            if len(self.newest_us) > TURNS_STAMPED_MAX:
                del self.newest_us[next(iter(self.newest_us))]
        return verdict
