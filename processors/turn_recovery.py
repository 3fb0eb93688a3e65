"""Mends what the last owner of a partition left open, before the first new command is taken in."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from processors.decisions.recovery import Close, GiveUp, Resume, Stop, Watch, decide_recovery
from processors.decisions.turn_ending import CANCELLED
from processors.session_lane import OpenTurn, SessionLane
from schemas.journal import JournalEntry
from schemas.session_events import TurnQueued

if TYPE_CHECKING:
    from processors.partition_owner import PartitionOwner

__all__ = ["TurnRecovery"]

log = structlog.get_logger(__name__)

SESSIONS_SIDE_BY_SIDE_MAX: Final = 16


class TurnRecovery:
    """The recovery of one partition."""

    def __init__(self, owner: PartitionOwner) -> None:
        self.owner = owner
        self.slots = asyncio.Semaphore(SESSIONS_SIDE_BY_SIDE_MAX)

    async def recover_all(self) -> None:
        """Put every open turn in line, or end it; sessions side by side, turns of one in order."""
        entries = sorted(self.owner.journal.open_entries(), key=lambda entry: entry.accepted_at_us)
        sessions: dict[tuple[str, str], list[JournalEntry]] = {}
        for entry in entries:
            sessions.setdefault((entry.user, entry.session), []).append(entry)
        if entries:
            log.info("turns_recovered", partition=self.owner.partition, turns=len(entries), sessions=len(sessions))
        async with asyncio.TaskGroup() as group:
            for (user, session), of_session in sessions.items():
                group.create_task(self.recover_session(self.owner.lane_of(user, session), of_session))

    async def recover_session(self, lane: SessionLane, entries: list[JournalEntry]) -> None:
        async with self.slots:
            for entry in entries:
                await self.owner.until_done("recovery", partial(self.recover, lane, entry))

    async def recover(self, lane: SessionLane, entry: JournalEntry) -> None:
        if entry.prompt is None or lane.find(entry.turn) is not None:
            return
        turn = OpenTurn(entry, entry.prompt, self.owner.parts.clock.now_us())
        async with lane.lock:
            await self.owner.open_log(lane)
            await lane.log().sync(since_ms=turn.since_ms)
            await self.act(lane, turn)

    async def act(self, lane: SessionLane, turn: OpenTurn) -> None:
        folded = lane.log().folded(turn.turn)
        decision = decide_recovery(
            turn.entry,
            folded,
            attempts_max=self.owner.parts.limits.attempts_max,
            now_us=self.owner.parts.clock.now_us(),
        )
        log.info("turn_recovered", turn=turn.turn, decision=type(decision).__name__, attempt=turn.entry.attempt)
        match decision:
            case Close():
                await self.owner.parts.runner.close(lane, turn)
            case Stop():
                await self.owner.parts.runner.end_unstarted(lane, turn, CANCELLED)
            case Watch():
                self.owner.lines.watch(lane, turn)
            case GiveUp(crashes):
                await self.queue_if_new(lane, turn, known=folded is not None)
                message = f"its worker died {crashes} times"
                await self.owner.lines.give_up(lane, turn, code="crashed", message=message)
            case Resume(queued, crashes, cause):
                await self.queue_if_new(lane, turn, known=queued)
                turn.entry = msgspec.structs.replace(turn.entry, crashes=crashes)
                turn.cause = cause
                lane.waiting.append(turn)
                self.owner.lines.wake(lane)

    async def queue_if_new(self, lane: SessionLane, turn: OpenTurn, *, known: bool) -> None:
        if known:
            return
        queued = TurnQueued(
            turn=turn.turn,
            prompt_id=turn.prompt.prompt_id,
            input=turn.prompt.input,
            messages=turn.prompt.messages,
            model=turn.prompt.model,
            position=lane.open_turns,
            at_us=self.owner.parts.clock.now_us(),
        )
        await lane.log().append([queued], since_ms=turn.since_ms)
