"""Settles comparisons: what the turns of one prompt, side by side, come to.

A comparison is settled by whoever closes a turn of its prompt, after the turn's records and before its journal entry:
while the entry is open, a next owner closes the turn again, and settles again. Everything here may therefore be
repeated: of several `ComparisonEnded` the first counts, a merging turn has its one id, a stopped turn is stopped. An
owner that is about to leave its partition settles nothing and leaves the entry to the next one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from processors.sessions.decisions.turn_life import TurnEvent, TurnLife
from processors.sessions.open_turn import OpenTurn, first_offset_of
from processors.sessions.partition_tasks import PartitionTasks
from processors.sessions.session_lane import SessionLane
from processors.sessions.side_by_side import both
from processors.turns.decisions.comparison import Answer, Merge, Open, Score, Settled, best_of, decide_comparison
from processors.turns.turn_stops import TurnStops, merge_entry
from processors.turns.worker_parts import WorkerParts
from schemas.prompts import PromptSubmitted, turns_of
from schemas.session_events import ComparisonEnded

__all__ = ["Comparisons"]

log = structlog.get_logger(__name__)


@dataclass(eq=False, kw_only=True)
class Comparisons:
    """The comparisons of one partition."""

    parts: WorkerParts
    tasks: PartitionTasks
    stops: TurnStops
    wake: Callable[[SessionLane], None]

    async def settle(self, lane: SessionLane, turn: OpenTurn) -> bool:
        """Do what follows from a turn's end for its prompt's comparison; False: the turn is not to be closed here.

        Raises AppendFailed, LogError. Cancellation: part of it is done; the next owner does it again.
        """
        if not turn.prompt.models:
            return True
        if self.tasks.stopping:
            return False
        async with lane.settling:
            await self.settle_alone(lane, turn)
        return True

    async def settle_alone(self, lane: SessionLane, turn: OpenTurn) -> None:
        prompt = turn.prompt
        comparison = lane.log().fold.comparisons.get(prompt.prompt_id)
        if comparison is None:
            comparison = await self.decide(lane, turn)
            if comparison is None:
                return
            log.info("comparison_ended", turn=comparison.turn, mode=comparison.mode)
            await lane.log().append([comparison], since_ms=turn.since_ms)
            self.parts.conversations.forget(lane.log().key)
        if comparison.mode == "first":
            others = (other for other in of_prompt(lane, prompt) if other.turn != comparison.turn)
            await self.stops.stop(lane, others, "lost_comparison")

    async def decide(self, lane: SessionLane, turn: OpenTurn) -> ComparisonEnded | None:
        """What the comparison has come to; None: not yet."""
        prompt, turn_ids = turn.prompt, turns_of(turn.prompt)
        answers = [self.answer(lane, turn_id) for turn_id in turn_ids[: len(prompt.models)]]
        merged = self.answer(lane, turn_ids[-1]) if lane.log().folded(turn_ids[-1]) is not None else None
        decision = decide_comparison(
            prompt.compare,
            answers,
            merged=merged if prompt.compare == "merge" else None,
            may_merge=not merge_forbidden(lane, turn_ids[-1]),
        )
        match decision:
            case Open():
                if merged is not None and prompt.compare == "merge":  # told to the session, perhaps by one who died
                    await self.queue_merge(lane, turn)
                return None
            case Settled(chosen):
                return self.ended(prompt, chosen)
            case Score(turns):
                scores = await self.scores(lane, prompt, turns)
                return self.ended(prompt, best_of(turns, scores), scores)
            case Merge():
                await self.queue_merge(lane, turn)
                return None

    def answer(self, lane: SessionLane, turn_id: str) -> Answer:
        folded, entry = lane.log().folded(turn_id), lane.journal.get(turn_id)
        if folded is not None and folded.ended is not None:
            return Answer(turn_id, folded.ended.reason, folded.ended.forgotten, folded.last_offset)
        if folded is None and entry is not None and entry.phase == "ended":
            return Answer(turn_id, "error")  # its log is gone, and its answer with it
        return Answer(turn_id)

    def ended(self, prompt: PromptSubmitted, turn: str, scores: dict[str, float] | None = None) -> ComparisonEnded:
        now_us = self.parts.clock.now_us()
        return ComparisonEnded(
            prompt_id=prompt.prompt_id, mode=prompt.compare, turn=turn, scores=scores or {}, at_us=now_us
        )

    async def scores(self, lane: SessionLane, prompt: PromptSubmitted, turns: Sequence[str]) -> dict[str, float]:
        texts = await lane.log().texts_of(turns)
        question = prompt.messages[-1].content if prompt.messages else prompt.input
        scores = await self.parts.scorer.scores(question, [texts.get(turn, "") for turn in turns])
        return dict(zip(turns, scores, strict=True))

    async def queue_merge(self, lane: SessionLane, turn: OpenTurn) -> None:
        """Queue the turn that merges the answers, right behind them."""
        fresh = merge_entry(turn, self.parts.clock.now_us())
        entry = lane.journal.get(fresh.turn) or fresh
        if lane.find(entry.turn) is not None or entry.phase != "queued" or entry.attempt:
            return  # at work, or about to be taken up again
        now_us = self.parts.clock.now_us()
        merging = OpenTurn(TurnLife(entry), turn.prompt, now_us)
        queued = merging.queued(position=0, at_us=now_us)
        await both(lane.journal.write(entry), lane.log().append([queued], since_ms=turn.since_ms))
        first_offset = first_offset_of(entry, lane.log().folded(entry.turn))
        merging.note(TurnEvent.LOCATED, first_offset=first_offset)
        lane.join(merging)
        self.wake(lane)


def of_prompt(lane: SessionLane, prompt: PromptSubmitted) -> list[OpenTurn]:
    return [turn for turn in lane.turns if turn.prompt.prompt_id == prompt.prompt_id]


def merge_forbidden(lane: SessionLane, turn_id: str) -> bool:
    known = lane.journal.get(turn_id)
    return known is not None and known.phase == "cancelled_early"
