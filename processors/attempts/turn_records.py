"""What is kept of a turn's attempts: their records for analytics, and the journal entry that closes the turn.

Each record has the name (turn, attempt, run), so one that is written again, by this worker or by the next one after a
crash, is the same. What this worker streamed itself is recorded from what it knows; everything else is rebuilt from
the session's log, with usage estimated where nobody reported it. A failed attempt is recorded once the next one has
started, or the turn has ended: only then is it known whether its text stands. A sending of a prompt that was refused
for now is recorded under a run of its own, and leaves no entry.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from infra.clock import Clock
from processors.attempts.run_budgets import RunBudgets
from processors.attempts.turn_calls import TurnCalls
from processors.sessions.attempt import Attempt, StreamResult
from processors.sessions.decisions.recovery import closed
from processors.sessions.decisions.token_count import estimated_usage
from processors.sessions.decisions.turn_life import TurnEvent
from processors.sessions.open_turn import OpenTurn, first_offset_of
from processors.sessions.session_lane import SessionLane
from processors.writing.attempt_recorder import AttemptRecorder, PartLimits
from processors.writing.log_appender import LogAppender
from schemas.ledger import Amount
from schemas.prompts import ChatMessage
from schemas.records import AttemptOutcome, AttemptReason, refused_run
from schemas.session_events import PromptRefused, TurnEnded, TurnError, TurnStarted, Usage
from schemas.turn_fold import FoldedRun, FoldedTurn

__all__ = ["TurnRecords", "used_by"]


@dataclass(eq=False, kw_only=True)
class TurnRecords:
    """Writes records and closes turns."""

    appender: LogAppender
    calls: TurnCalls
    clock: Clock
    part_limits: PartLimits
    budgets: RunBudgets

    async def finish(
        self, lane: SessionLane, turn: OpenTurn, attempt: Attempt, ended: TurnEnded, result: StreamResult
    ) -> None:
        """The record of the attempt that has ended its turn. Raises AppendFailed."""
        await attempt.recorder.finish(self.outcome(turn, attempt, ended, result))
        turn.recorded_runs.add(attempt.run)
        # after the record: one that is not taken is rebuilt from the log, perhaps with another count
        self.budgets.settle(lane, turn, attempt.run, used_by(ended.usage, ended.cost_nano_usd))

    async def record_failed(
        self, lane: SessionLane, turn: OpenTurn, folded: FoldedRun | None, ended: TurnEnded | None
    ) -> None:
        """The record of the newest call, which failed. Raises AppendFailed.

        `folded`: its run as the log shows it, None where it does not; `ended`: the turn's end, where that is its own.
        What fails here is rebuilt from the log.
        """
        failed, turn.failed = turn.failed, None
        if failed is None or failed.attempt.run in turn.recorded_runs:
            return
        if ended is not None:
            await self.finish(lane, turn, failed.attempt, ended, failed.result)
        else:
            await self.record_left(lane, turn, failed.attempt, failed.result, reason_of(folded))

    async def record_left(
        self, lane: SessionLane, turn: OpenTurn, attempt: Attempt, result: StreamResult, reason: AttemptReason
    ) -> None:
        """The record of a call that another one followed, or was faster than. Raises AppendFailed."""
        price = self.calls.price_of(result.usage, attempt.target)
        used = used_by(result.usage, price.cost_nano_usd)
        self.budgets.trim(lane, turn, attempt.run, used)
        left = TurnEnded(
            turn=turn.turn,
            attempt=attempt.number,
            run=attempt.run,
            reason="error",
            usage=result.usage,
            cost_nano_usd=price.cost_nano_usd,
            price_version=price.version,
            error=result.ending.error,
            at_us=result.ended_at_us,
        )
        outcome = self.outcome(turn, attempt, left, result)
        await attempt.recorder.finish(msgspec.structs.replace(outcome, reason=reason))
        turn.recorded_runs.add(attempt.run)
        self.budgets.settle(lane, turn, attempt.run, used)

    async def close(self, lane: SessionLane, turn: OpenTurn) -> None:
        """Close a turn that the log shows ended: write what may be missing of its records, then the entry.

        One that a refusal took back is forgotten.
        """
        if lane.is_refused(turn):
            await self.take_back(lane, turn, await lane.log().refusal_of(turn.prompt.prompt_id))
            return
        turn.note(TurnEvent.ENDED)
        end = await lane.log().reader.end(lane.log().place.topic, lane.log().place.partition)
        folded = lane.log().folded(turn.turn)
        if folded is None or folded.attempt:
            self.calls.conversations.forget(lane.log().key)  # what the turn left on the log is not among its messages
        ended = await self.record_rest(lane, turn, end)
        if ended is not None:
            await self.close_entry(lane, turn, ended)

    async def take_back(self, lane: SessionLane, turn: OpenTurn, refused: PromptRefused | None) -> TurnEnded:
        """Record the refusal of a turn's sending, then forget its entry. None: the log does not show it any more."""
        turn.note(TurnEvent.ENDED)
        code = refused.code if refused is not None else "refused"
        at_us = refused.at_us if refused is not None else turn.entry.accepted_at_us
        ended = await self.record_refused(lane, turn, code=code, at_us=at_us)
        known = lane.journal.get(turn.turn)
        if known is not None and known.try_offset <= turn.entry.try_offset:  # else a later sending's is at work
            self.let_go(lane, turn)
            await lane.journal.remove(turn.turn)
        return ended

    async def record_refused(self, lane: SessionLane, turn: OpenTurn, *, code: str, at_us: int) -> TurnEnded:
        """The record of a sending that was refused for now. Raises AppendFailed."""
        ended = TurnEnded(
            turn=turn.turn, attempt=0, run="", reason="rejected", error=TurnError(code=code, message=""), at_us=at_us
        )
        await self.record_run(lane, turn, None, ended, name=refused_run(turn.entry.try_offset))
        return ended

    async def record_void_runs(self, lane: SessionLane, turn: OpenTurn) -> None:
        """Records of the attempts that the one just started replaced or goes on from, as far as they got."""
        folded = lane.log().folded(turn.turn)
        if folded is None:
            return
        if turn.failed is not None:
            run = next((run for run in folded.void_runs if run.run == turn.failed.run), None)
            await self.record_failed(lane, turn, run, None)
        called = {run.run for run in folded.void_runs} | {hedge.run for hedge in folded.hedges}
        if called - {folded.run} <= turn.recorded_runs:
            return
        fold = await lane.log().records_between(folded.first_offset, lane.log().fold.next_offset)
        full = fold.turns.get(turn.turn)
        if full is not None:
            for run in full.void_runs:
                await self.record_once(lane, turn, run, None)
            await self.record_hedges(lane, turn, full)

    async def trim_left(self, lane: SessionLane, turn: OpenTurn) -> None:
        """Have runs that are over hold no more than they have used, as far as is known: what settles them is their
        record. Raises LogError."""
        left = {run.run: run for run in lane.accounts.open_runs(turn.entry.user, turn.turn)}
        if not left:
            return
        folded, full = lane.log().folded(turn.turn), None
        if folded is not None:
            fold = await lane.log().records_between(folded.first_offset, lane.log().fold.next_offset)
            full = fold.turns.get(turn.turn)
        for run in (*full.void_runs, full.current) if full is not None else ():
            account = left.pop(run.run, None) if run is not None else None
            if run is None or account is None:
                continue
            own = turn.failed if turn.failed is not None and turn.failed.run == run.run else None
            usage = own.usage if own is not None else await self.estimated(lane, turn, run)
            target = self.calls.target_called(turn, run.started.provider, run.started.model)
            cost_nano_usd = self.calls.price_of(usage, target).cost_nano_usd
            lane.accounts.trim(turn.entry.user, account, used_by(usage, cost_nano_usd))
        hedges = {hedge.run for hedge in full.hedges} if full is not None else set()
        self.budgets.release(lane, turn, left.keys() - hedges)  # those that the log does not show

    async def record_rest(self, lane: SessionLane, turn: OpenTurn, end: int) -> TurnEnded | None:
        """Records of all runs of a turn that the log shows ended, rebuilt from the log."""
        start = await self.start_of(lane, turn)
        fold = await lane.log().records_between(start, end)
        full = fold.turns.get(turn.turn)
        if full is None or full.ended is None:
            return None
        for run in full.void_runs:
            await self.record_once(lane, turn, run, None)
        await self.record_hedges(lane, turn, full)
        if full.current is None:
            await self.record_run(lane, turn, None, full.ended)
        else:
            await self.record_once(lane, turn, full.current, full.ended)
        return full.ended

    async def record_hedges(self, lane: SessionLane, turn: OpenTurn, full: FoldedTurn) -> None:
        """Records of second calls that never spoke, as far as the log knows: they may have been made, and paid for."""
        started = {run.run for run in (*full.void_runs, full.current) if run is not None}
        for hedge in full.hedges:
            if hedge.run in started or hedge.run in turn.recorded_runs:
                continue
            asked = TurnStarted(
                turn=hedge.turn,
                attempt=hedge.attempt,
                run=hedge.run,
                provider=hedge.provider,
                model=hedge.model,
                cause="hedge",
                at_us=hedge.at_us,
            )
            await self.record_run(lane, turn, FoldedRun(hedge.attempt, hedge.run, asked), None)
            turn.recorded_runs.add(hedge.run)

    async def record_once(self, lane: SessionLane, turn: OpenTurn, run: FoldedRun, ended: TurnEnded | None) -> None:
        if turn.failed is not None and turn.failed.run == run.run:
            await self.record_failed(lane, turn, run, ended)
        elif run.run not in turn.recorded_runs:
            await self.record_run(lane, turn, run, ended)
            turn.recorded_runs.add(run.run)

    async def record_run(
        self, lane: SessionLane, turn: OpenTurn, run: FoldedRun | None, ended: TurnEnded | None, *, name: str = ""
    ) -> None:
        """The record of a run as the log shows it; usage is estimated where nobody reported it.

        `name`: what it is recorded under where there is no run.
        """
        recorder = AttemptRecorder(
            self.appender,
            lane.key,
            turn.entry,
            attempt=run.attempt if run else 0,
            run=run.run if run else name,
            from_seq=run.started.from_seq if run else 0,
            limits=self.part_limits,
        )
        if run is not None:
            recorder.add(run.chunks, run.gaps_us)
        usage = ended.usage if ended else await self.estimated(lane, turn, run)
        target = self.calls.target_called(turn, run.started.provider, run.started.model) if run else None
        price = self.calls.price_of(usage, target)
        await recorder.finish(
            AttemptOutcome(
                reason=ended.reason if ended else reason_of(run),
                cause=run.started.cause if run else "first",
                error_code=ended.error.code if ended and ended.error else "",
                provider=run.started.provider if run else "",
                model=run.started.model if run else self.calls.model_of(turn) or self.calls.catalogue().default,
                usage=usage,
                cost_nano_usd=price.cost_nano_usd,
                price_version=price.version,
                accepted_at_us=turn.entry.accepted_at_us,
                requested_at_us=run.started.at_us if run else 0,
                first_chunk_at_us=run.first_at_us if run else 0,
                ended_at_us=ended.at_us if ended else (run.last_at_us or run.started.at_us if run else 0),
                history_messages_cut=run.started.history_messages_cut if run else 0,
                metadata=turn.prompt.metadata,
            )
        )
        if run is not None:
            self.budgets.settle(lane, turn, run.run, used_by(usage, price.cost_nano_usd))

    async def estimated(self, lane: SessionLane, turn: OpenTurn, run: FoldedRun | None) -> Usage:
        """What a run used, by our own count. Raises LogError."""
        if run is None or run.started.cached:
            return Usage(estimated=run is None)
        messages = (await self.calls.history_of(lane, turn, None)).messages
        if run.started.from_seq:
            messages = (*messages, ChatMessage(role="assistant", content="".join(run.before)))
        return estimated_usage(messages, "".join(run.chunks), run.started.model)

    async def close_entry(self, lane: SessionLane, turn: OpenTurn, ended: TurnEnded) -> None:
        """Journal that the turn is over, once its prompt's comparison is settled. Raises AppendFailed, LogError."""
        if not await lane.settle(lane, turn):
            return
        self.let_go(lane, turn)  # all that the log shows are recorded, and settled by that
        folded = lane.log().folded(turn.turn)
        offset = folded.last_offset if folded is not None else -1
        await lane.journal.write(closed(turn.entry, ended.reason, offset, self.clock.now_us()))

    def let_go(self, lane: SessionLane, turn: OpenTurn) -> None:
        """A turn is over: what its runs still hold is free again."""
        left = {run.run for run in lane.accounts.open_runs(turn.entry.user, turn.turn)}
        self.budgets.release(lane, turn, left)

    async def start_of(self, lane: SessionLane, turn: OpenTurn) -> int:
        first_offset = first_offset_of(turn.entry, lane.log().folded(turn.turn))
        if first_offset >= 0:
            return first_offset
        place = lane.log().place
        return await lane.log().reader.offset_at(place.topic, place.partition, max(0, turn.since_ms - 1_000))

    def outcome(self, turn: OpenTurn, attempt: Attempt, ended: TurnEnded, result: StreamResult) -> AttemptOutcome:
        return AttemptOutcome(
            reason=ended.reason,
            cause=attempt.cause,
            error_code=ended.error.code if ended.error else "",
            provider=attempt.provider,
            model=attempt.target.model,
            usage=ended.usage,
            cost_nano_usd=ended.cost_nano_usd,
            price_version=ended.price_version,
            accepted_at_us=turn.entry.accepted_at_us,
            dequeued_at_us=turn.dequeued_at_us,
            requested_at_us=result.requested_at_us,
            first_chunk_at_us=result.first_chunk_at_us,
            published_at_us=result.published_at_us,
            ended_at_us=ended.at_us,
            ttft_us=result.ttft_us,
            tpot_us=result.tpot_us,
            history_messages_cut=attempt.history.messages_cut,
            metadata=turn.prompt.metadata,
        )


def used_by(usage: Usage, cost_nano_usd: int) -> Amount:
    """What a call has taken of its user's account."""
    return Amount(usage.input_tokens, usage.output_tokens, cost_nano_usd)


def reason_of(run: FoldedRun | None) -> AttemptReason:
    """Of an attempt that a later one followed."""
    return "continued" if run is not None and run.stands else "void"
