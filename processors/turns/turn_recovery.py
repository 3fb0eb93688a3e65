"""Mends what the last owner of a partition left open, before the first new command is taken in."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import structlog

from infra.kafka.session_topics import SessionTopicRefused
from processors.sessions.decisions.admission import EXPIRED_MESSAGE
from processors.sessions.decisions.recovery import (
    Close,
    Expire,
    Follow,
    GiveUp,
    Resume,
    Stop,
    TakenBack,
    decide_recovery,
)
from processors.sessions.decisions.turn_ending import Ending, ending_of_stop
from processors.sessions.decisions.turn_life import TurnEvent, TurnLife
from processors.sessions.open_turn import OpenTurn
from processors.sessions.partition_sessions import PartitionSessions
from processors.sessions.partition_tasks import PartitionTasks
from processors.sessions.session_lane import SessionLane
from processors.turns.attempt_loop import AttemptLoop
from processors.turns.turn_starter import TurnStarter
from processors.turns.unlogged_endings import UnloggedEndings
from processors.turns.worker_parts import WorkerParts
from schemas.journal import JournalEntry
from schemas.session_events import TurnError

__all__ = ["TurnRecovery"]

log = structlog.get_logger(__name__)

SESSIONS_SIDE_BY_SIDE_MAX: Final = 16
FAILURES_MAX: Final = 3


@dataclass(eq=False, kw_only=True)
class TurnRecovery:
    """The recovery of one partition."""

    parts: WorkerParts
    tasks: PartitionTasks
    sessions: PartitionSessions
    starter: TurnStarter
    loop: AttemptLoop
    unlogged: UnloggedEndings
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(SESSIONS_SIDE_BY_SIDE_MAX), init=False)

    async def recover_all(self) -> None:
        """Put every open turn in its lane, or end it; sessions side by side, turns of one in order."""
        entries = sorted(self.sessions.journal.open_entries(), key=lambda entry: entry.accepted_at_us)
        sessions: dict[tuple[str, str], list[JournalEntry]] = {}
        for entry in entries:
            sessions.setdefault((entry.user, entry.session), []).append(entry)
        self.parts.suspects.expect(entries, attempts_max=self.parts.limits.attempts_max)
        if entries:
            log.info("turns_recovered", partition=self.tasks.partition, turns=len(entries), sessions=len(sessions))
        async with asyncio.TaskGroup() as group:
            for of_session in sessions.values():
                group.create_task(self.recover_session(of_session))

    async def recover_session(self, entries: list[JournalEntry]) -> None:
        async with self._slots:
            try:
                ordered = await self.tasks.until_done("recovery", lambda: self.in_log_order(entries))
            except SessionTopicRefused as refusal:
                for entry in entries:
                    await self.end_unlogged(entry, refusal)
                return
            for entry in ordered:
                await self.recover_surely(entry)

    async def end_unlogged(self, entry: JournalEntry, refusal: SessionTopicRefused) -> None:
        if entry.prompt is None:
            return
        lane = self.sessions.lane_of(entry.user, entry.session)
        turn = OpenTurn(TurnLife(entry), entry.prompt, self.parts.clock.now_us())
        async with lane.alone():
            await self.unlogged.end(lane, turn, refusal)

    async def in_log_order(self, entries: list[JournalEntry]) -> list[JournalEntry]:
        """In the order in which they were taken in: prompts of one millisecond are told apart by the log alone."""
        async with self.lane_of(entries[0]) as lane:
            await lane.log().sync(since_ms=entries[0].accepted_at_us // 1_000)
            folded = {entry.turn: lane.log().folded(entry.turn) for entry in entries}

        def place(entry: JournalEntry) -> tuple[float, int]:
            turn = folded[entry.turn]
            return (turn.first_offset if turn else math.inf, entry.accepted_at_us)

        return sorted(entries, key=place)

    async def recover_surely(self, entry: JournalEntry) -> None:
        """As often as the cluster fails meanwhile; a turn that our own code fails on is given up after a few."""
        for failure in range(1, FAILURES_MAX + 1):
            try:
                await self.tasks.until_done("recovery", lambda: self.recover(entry))
                return
            except SessionTopicRefused as refusal:
                await self.end_unlogged(entry, refusal)
                return
            except Exception as error:  # one turn must not keep a partition from being recovered
                log.error("recovery_failed", turn=entry.turn, failures=failure, exc_info=error)
                fault = type(error).__name__
        if entry.prompt is not None:
            async with self.lane_of(entry) as lane:
                turn = OpenTurn(TurnLife(entry), entry.prompt, self.parts.clock.now_us())
                await self.loop.give_up_surely(lane, turn, code="handler_error", message=fault)

    @asynccontextmanager
    async def lane_of(self, entry: JournalEntry) -> AsyncIterator[SessionLane]:
        lane = self.sessions.lane_of(entry.user, entry.session)
        async with lane.alone():
            await self.parts.logs.open(lane)
            yield lane

    async def recover(self, entry: JournalEntry) -> None:
        async with self.lane_of(entry) as lane:
            if entry.prompt is None or lane.find(entry.turn) is not None:
                return
            turn = OpenTurn(TurnLife(entry), entry.prompt, self.parts.clock.now_us())
            await lane.log().sync(since_ms=turn.since_ms)
            await self.act(lane, turn)

    async def act(self, lane: SessionLane, turn: OpenTurn) -> None:
        lane.note_lost(turn)
        turn.leased_at_us = self.sessions.journal.leased_at_us(turn.turn)
        leased = await self.loop.is_left(lane, turn)
        if turn.entry.phase == "running" and not leased:
            leased = await self.loop.is_written_on(lane, turn)
        folded = lane.log().folded(turn.turn)
        decision = decide_recovery(
            turn.entry,
            folded,
            attempts_max=self.parts.limits.attempts_max,
            now_us=self.parts.clock.now_us(),
            refused=lane.is_refused(turn),
            leased=leased,
        )
        log.info("turn_recovered", turn=turn.turn, decision=type(decision).__name__, attempt=turn.entry.attempt)
        match decision:
            case Close() | TakenBack():
                await self.parts.records.close(lane, turn)
            case Stop():
                await self.parts.runner.end_unstarted(lane, turn, ending_of_stop(turn.entry.stop))
            case Expire():
                await self.expire(lane, turn)
            case Follow():
                self.starter.follow(lane, turn)
            case GiveUp(crashes):
                await self.queue_if_new(lane, turn, known=folded is not None)
                message = f"its worker died {crashes} times, the last time with nothing but this prompt"
                await self.loop.give_up(lane, turn, code="crashed", message=message)
            case Resume(queued, crashes, cause):
                await self.queue_if_new(lane, turn, known=queued)
                turn.note(TurnEvent.RESUMED, cause=cause, crashes=crashes)
                self.put_in_lane(lane, turn)

    async def take_up(self, lane: SessionLane, entry: JournalEntry) -> None:
        """Put a turn in its lane that the journal knows and nobody is at work on: its taking-in broke off in between.

        To be called with the lane's lock. Raises AppendFailed, LogError, RunVoided.
        """
        if entry.phase not in ("queued", "running") or entry.prompt is None or lane.find(entry.turn) is not None:
            return
        turn = OpenTurn(TurnLife(entry), entry.prompt, self.parts.clock.now_us())
        await lane.log().sync(since_ms=turn.since_ms)
        folded = lane.log().folded(turn.turn)
        log.info("turn_taken_up", turn=turn.turn, attempt=entry.attempt)
        if lane.is_refused(turn) or (folded is not None and folded.ended is not None):
            await self.parts.records.close(lane, turn)
            return
        await self.queue_if_new(lane, turn, known=folded is not None)
        if folded is not None and folded.attempt:
            turn.note(TurnEvent.TAKEN_UP, cause="append_lost")
        self.put_in_lane(lane, turn)

    def put_in_lane(self, lane: SessionLane, turn: OpenTurn) -> None:
        lane.join(turn)
        self.starter.wake(lane)

    async def expire(self, lane: SessionLane, turn: OpenTurn) -> None:
        queued = turn.queued(position=0, at_us=self.parts.clock.now_us())
        ending = Ending("expired", TurnError(code="expired", message=EXPIRED_MESSAGE))
        await self.parts.runner.end_unstarted(lane, turn, ending, queued=queued)

    async def queue_if_new(self, lane: SessionLane, turn: OpenTurn, *, known: bool) -> None:
        if not known:
            queued = turn.queued(position=lane.open_turns, at_us=self.parts.clock.now_us())
            await lane.log().append([queued], since_ms=turn.since_ms)
