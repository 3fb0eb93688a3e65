"""Ends turns whose session can have no log, since the cluster refuses to keep one.

What happens to a turn is told on its session's log. Here there is none, so the end is told where it can be: the prompt
and the cluster's words as a dead letter, the end on the records, and the journal's entry closed, so that the same
prompt is not taken in again. Everything may be repeated: a dead letter lies there twice then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import structlog

from infra.kafka.session_topics import SessionTopicsError, SessionTopicsFull, SessionTopicsUnavailable
from processors.sessions.decisions.recovery import closed
from processors.sessions.decisions.turn_life import TurnEvent
from processors.sessions.open_turn import OpenTurn
from processors.sessions.partition_tasks import PartitionTasks
from processors.sessions.session_lane import SessionLane
from processors.turns.worker_parts import WorkerParts
from schemas.session_events import EndReason, TurnEnded, TurnError

__all__ = ["UnloggedEndings"]

log = structlog.get_logger(__name__)

CODE: Final = "session_refused"
UNMADE_RETRY_S: Final = 30.0
"""When a prompt that waited in vain for its log may be sent again."""


@dataclass(eq=False, kw_only=True)
class UnloggedEndings:
    """The endings of turns of one partition whose session can have no log."""

    parts: WorkerParts
    tasks: PartitionTasks

    async def end(self, lane: SessionLane, turn: OpenTurn, refusal: SessionTopicsError) -> None:
        """End a turn in `error`, however often the cluster fails meanwhile.

        Cancellation: part of it is done; the next owner finds the turn open and ends it.
        """
        await self.tasks.until_done("refused", lambda: self.end_once(lane, turn, refusal))

    async def end_once(self, lane: SessionLane, turn: OpenTurn, refusal: SessionTopicsError) -> None:
        if turn.over:
            return
        if isinstance(refusal, SessionTopicsUnavailable):
            await self.refuse_for_now(lane, turn, refusal, retry_after_s=UNMADE_RETRY_S)
            return
        if isinstance(refusal, SessionTopicsFull) and lane.journal.get(turn.turn) is None:
            await self.refuse_for_now(lane, turn, refusal, retry_after_s=refusal.retry_after_s)
            return
        await self.parts.dead_letters.keep_prompt(turn.prompt, self.tasks.partition, reason=CODE, message=str(refusal))
        await self.parts.records.record_failed(lane, turn, None, None)
        error = TurnError(code=CODE, message="The cluster refuses to keep a log for this session.")
        ended = await self.recorded(lane, turn, "error", error)
        self.parts.records.let_go(lane, turn)
        await lane.journal.write(closed(turn.entry, ended.reason, -1, ended.at_us))
        self.tell(lane, turn, ended)
        log.error("turn_refused", turn=turn.turn, reason=str(refusal))

    async def refuse_for_now(
        self, lane: SessionLane, turn: OpenTurn, refusal: SessionTopicsError, *, retry_after_s: float
    ) -> None:
        """There is no room for another session now, or its log could not be made in all the time that it waited.
        Nothing of it is kept but its record: the same prompt, sent again later, is a new one.
        """
        now_us = self.parts.clock.now_us()
        ended = await self.parts.records.record_refused(lane, turn, code="unavailable", at_us=now_us)
        self.parts.records.let_go(lane, turn)
        self.tell(lane, turn, ended, retry_after_s=retry_after_s)
        log.warning("session_turned_away", turn=turn.turn, reason=str(refusal))

    async def recorded(self, lane: SessionLane, turn: OpenTurn, reason: EndReason, error: TurnError) -> TurnEnded:
        """Put the turn's end on the records. Raises AppendFailed."""
        ended = TurnEnded(
            turn=turn.turn,
            attempt=0,
            run="",
            reason=reason,
            error=error,
            metadata=turn.prompt.metadata,
            at_us=self.parts.clock.now_us(),
        )
        await self.parts.records.record_run(lane, turn, None, ended)
        return ended

    def tell(self, lane: SessionLane, turn: OpenTurn, ended: TurnEnded, *, retry_after_s: float = 0.0) -> None:
        """Have gateways tell whoever waits for the prompt; once, whatever number of models it asks."""
        if not turn.entry.index:
            self.parts.activity.refuse(lane.key, turn.prompt.prompt_id, retry_after_s=retry_after_s)
        turn.note(TurnEvent.ENDED)
        self.parts.runner.count(ended, None)
