"""Ends turns whose session can have no log, since the cluster refuses to keep one.

What happens to a turn is told on its session's log. Here there is none, so the end is told where it can be: the prompt
and the cluster's words as a dead letter, the end on the records, and the journal's entry closed, so that the same
prompt is not taken in again. Everything may be repeated: a dead letter lies there twice then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import structlog

from infra.kafka.session_topics import SessionTopicRefused, SessionTopicsFull
from processors.decisions.recovery import closed
from processors.session_lane import OpenTurn, SessionLane
from schemas.codec import encode
from schemas.session_events import TurnEnded, TurnError

if TYPE_CHECKING:
    from processors.partition_owner import PartitionOwner

__all__ = ["UnloggedEndings"]

log = structlog.get_logger(__name__)

CODE: Final = "session_refused"


class UnloggedEndings:
    """Those of one partition."""

    def __init__(self, owner: PartitionOwner) -> None:
        self.owner = owner

    async def end(self, lane: SessionLane, turn: OpenTurn, refusal: SessionTopicRefused) -> None:
        """End a turn in `error`, however often the cluster's weather needs.

        Cancellation: part of it is done; the next owner finds the turn open and ends it.
        """
        await self.owner.until_done("refused", lambda: self.end_once(lane, turn, refusal))

    async def end_once(self, lane: SessionLane, turn: OpenTurn, refusal: SessionTopicRefused) -> None:
        if turn.over:
            return
        parts, prompt = self.owner.parts, turn.prompt
        if isinstance(refusal, SessionTopicsFull) and self.owner.journal.get(turn.turn) is None:
            await self.turn_away(lane, turn, refusal)
            return
        await parts.dead_letters.write(
            reason=CODE,
            message=str(refusal),
            topic=parts.names.prompts,
            partition=self.owner.partition,
            offset=-1,
            key=prompt.user.encode(),
            value=encode(prompt),
            user=prompt.user,
            session=prompt.session,
            prompt_id=prompt.prompt_id,
        )
        now_us = parts.clock.now_us()
        error = TurnError(code=CODE, message="The cluster refuses to keep a log for this session.")
        ended = TurnEnded(
            turn=turn.turn, attempt=0, run="", reason="error", error=error, metadata=prompt.metadata, at_us=now_us
        )
        await parts.runner.records.record_failed(turn, None, None)
        await parts.runner.records.record_run(lane, turn, None, ended)
        await lane.journal.write(closed(turn.entry, ended.reason, -1, now_us))
        self.tell(lane, turn)
        turn.over = True
        parts.runner.turns.labels(reason=ended.reason).inc()
        log.error("turn_refused", turn=turn.turn, reason=str(refusal))

    def tell(self, lane: SessionLane, turn: OpenTurn, *, retry_after_s: float = 0.0) -> None:
        """Have gateways tell whoever waits for the prompt; once, whatever number of models it asks."""
        if not turn.entry.index:
            self.owner.parts.activity.refuse(lane.key, turn.prompt.prompt_id, retry_after_s=retry_after_s)

    async def turn_away(self, lane: SessionLane, turn: OpenTurn, refusal: SessionTopicsFull) -> None:
        """There is no room for another session now. Nothing of it is kept but its record: the same prompt, sent again
        later, is a new one. Gateways are told, for whoever waits for it.
        """
        parts, prompt = self.owner.parts, turn.prompt
        error = TurnError(code="unavailable", message="No new session can be kept now.", temporary=True)
        ended = TurnEnded(
            turn=turn.turn,
            attempt=0,
            run="",
            reason="rejected",
            error=error,
            metadata=prompt.metadata,
            at_us=parts.clock.now_us(),
        )
        await parts.runner.records.record_run(lane, turn, None, ended)
        self.tell(lane, turn, retry_after_s=refusal.retry_after_s)
        turn.over = True
        parts.runner.turns.labels(reason=ended.reason).inc()
        log.warning("session_turned_away", turn=turn.turn, reason=str(refusal))
