"""The shell of one turn: begin an attempt, stream the model's answer onto the log, end it, record it.

The order, and what a death between two lines leaves behind:

1. journal entry `running` and `TurnStarted`, sent together, both acknowledged: a successor finds either of them and
   starts the next attempt;
2. the fold says that this run is the current one: only now the provider is called, and paid;
3. tokens, as they come: a successor voids the run and starts the next attempt; so does this worker where the call
   fails, and goes on from the text so far where it can (`sessions/decisions/continuation.py`);
4. `TurnEnded` acknowledged and effective: from here on the turn has its one ending;
5. the record, then the journal entry `ended`: a successor that finds 4 without 5 writes both anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import structlog

from infra.clock import Clock
from infra.settings import LINE_WAIT_S
from infra.targets.model_catalogue import ModelCatalogue
from infra.telemetry.metric_names import (
    WORKER_CALL_LIMIT,
    WORKER_LIMITS_MET,
    WORKER_PROVIDER_TTFT_SECONDS,
    WORKER_TOKENS,
    WORKER_TURNS,
)
from infra.telemetry.metrics import Metrics
from processors.attempts.answer_cache import CACHE_BYTES_MAX, AnswerCache, is_cached
from processors.attempts.attempt_calls import AttemptCalls
from processors.attempts.hedged_call import HedgedCall
from processors.attempts.run_budgets import RunBudgets, with_run
from processors.attempts.token_publisher import RunVoided
from processors.attempts.turn_calls import TurnCalls
from processors.attempts.turn_records import TurnRecords, used_by
from processors.attempts.turn_route import TurnRoute
from processors.ledger.run_meter import LimitMet
from processors.sessions.attempt import Attempt, StreamResult
from processors.sessions.conversation import Conversations
from processors.sessions.decisions.continuation import Restart, StartDecision, decide_start
from processors.sessions.decisions.turn_ending import Ending, limit_ending, limit_error
from processors.sessions.decisions.turn_life import TurnEvent, after
from processors.sessions.open_turn import OpenTurn, first_offset_of
from processors.sessions.session_lane import SessionLane
from processors.sessions.side_by_side import both
from processors.targets.target_pool import Call, TargetPool
from processors.targets.target_states import TargetState
from processors.writing.attempt_recorder import PartLimits
from processors.writing.log_appender import LogAppender
from schemas.refusals import Refusal
from schemas.session_events import PromptRefused, SessionEvent, TurnEnded, TurnError, TurnQueued, Usage
from schemas.turn_fold import FoldedTurn, Verdict

__all__ = ["TurnRunner"]

log = structlog.get_logger(__name__)

REFUSALS_MAX: Final = 2
APPEND_TRIES_MAX: Final = 5
"""How often a start or an end is appended anew because the log had moved on meanwhile."""


class TurnRunner:
    """Runs turns of any session; holds no state of its own between them."""

    def __init__(
        self,
        *,
        appender: LogAppender,
        conversations: Conversations,
        clock: Clock,
        metrics: Metrics,
        pool: TargetPool,
        catalogue: Callable[[], ModelCatalogue],
        answer_cache_bytes_max: int = CACHE_BYTES_MAX,
        line_wait_s: float = LINE_WAIT_S,
        part_limits: PartLimits | None = None,
    ) -> None:
        part_limits = part_limits or PartLimits()
        self.conversations = conversations
        self._clock = clock
        self.pool = pool
        self.answers = AnswerCache(bytes_max=answer_cache_bytes_max, clock=clock, metrics=metrics)
        self.calls = TurnCalls(
            catalogue=catalogue,
            pool=pool,
            conversations=conversations,
            answers=self.answers,
            clock=clock,
            line_wait_s=line_wait_s,
        )
        self._budgets = RunBudgets(calls=self.calls)
        self.attempts = AttemptCalls(appender=appender, calls=self.calls, metrics=metrics, part_limits=part_limits)
        self.records = TurnRecords(
            appender=appender, calls=self.calls, clock=clock, part_limits=part_limits, budgets=self._budgets
        )
        self._turns = metrics.counter(WORKER_TURNS)
        self._limits_met = metrics.counter(WORKER_LIMITS_MET)
        self._tokens = metrics.counter(WORKER_TOKENS)
        self._ttft = metrics.histogram(WORKER_PROVIDER_TTFT_SECONDS)
        self._call_limit = metrics.gauge(WORKER_CALL_LIMIT)
        pool.targets.on_new = self.show_limit

    def show_limit(self, state: TargetState) -> None:
        """Have a target's learned limit among the metrics."""
        limit = state.limit
        self._call_limit.labels(target=state.target.name).set_function(
            lambda: math.inf if limit.limit is None else limit.limit
        )

    def limit_met(self, limit: str, effect: str) -> None:
        """Count a limit of a user that was met, and what came of it."""
        self._limits_met.labels(limit=limit, effect=effect).inc()

    async def begin(
        self, lane: SessionLane, turn: OpenTurn, call: Call, *, queued: TurnQueued | None = None
    ) -> Attempt | None:
        """Start the next attempt at a target; None: the log shows that the turn is over.

        `queued` is appended before it, in the same request. Raises AppendFailed, LogError, and RunVoided where
        another worker's attempt came first: to try a higher number at once would void a run that was just paid for.
        """
        if turn.over:
            await self.records.close(lane, turn)
            return None
        # before the number is chosen: reading may take long, and another's start may come meanwhile
        history = await self.calls.history_of(lane, turn, call)
        await self.records.trim_left(lane, turn)  # what earlier runs hold must not stand in the way of this one
        start = self.start_of(turn, call)
        for _ in range(APPEND_TRIES_MAX):
            if lane.is_refused(turn):
                await self.records.close(lane, turn)
                return None
            folded = lane.log().folded(turn.turn)
            if folded is None and queued is None:  # the log was lost: tell the turn anew
                queued = turn.queued(position=0, at_us=self._clock.now_us())
            leading: list[SessionEvent] = [queued] if queued else []
            number, run = turn.next_run(folded)
            attempt = self.attempts.attempt_of(
                lane, turn, call, start, history=history, number=number, run=run, cause=turn.life.cause
            )
            try:
                attempt = self._budgets.metered(lane, turn, attempt)
            except LimitMet as met:
                if lane.accounts.is_leased:  # the next owner goes on with it
                    raise RunVoided(f"turn {turn.turn}: its partition is left") from met
                await self.refuse_by_limit(lane, turn, met.refusal, queued)
                return None
            begun = False
            try:
                verdict = await self.start(lane, turn, attempt, leading)
                folded = lane.log().folded(turn.turn)
                match verdict:
                    case Verdict.EFFECTIVE if not attempt.from_seq or goes_on_from_own(turn, folded):
                        # before the call: what others were paid for is on record even if this worker dies in it
                        await self.records.record_void_runs(lane, turn)
                        begun = True
                        return attempt
                    case Verdict.AFTER_END:
                        await self.records.close(lane, turn)
                        return None
                    case Verdict.EFFECTIVE | Verdict.HOLE:
                        start = Restart("nothing_said")  # what is on the log is not what this worker said
                    case _:
                        turn.note(TurnEvent.APPEND_LOST)
            finally:
                if not begun:  # it is never called
                    self._budgets.release(lane, turn, {run})
            if folded is not None and folded.run not in turn.runs:
                raise RunVoided(f"turn {turn.turn}: attempt {folded.attempt} is another worker's")
        raise RunVoided(f"turn {turn.turn}: {APPEND_TRIES_MAX} starts did not count")

    async def start(
        self, lane: SessionLane, turn: OpenTurn, attempt: Attempt, leading: Sequence[SessionEvent]
    ) -> Verdict:
        """Journal and tell that an attempt begins; says whether it counts. Raises AppendFailed, LogError."""
        runs = turn.held_runs() if attempt.meter is None else with_run(turn.held_runs(), attempt.meter.run)
        began = partial(after, turn.life, TurnEvent.BEGAN, attempt=attempt.number, run=attempt.run, runs=runs)
        entry = began(updated_at_us=self._clock.now_us()).entry
        started = self.attempts.started_of(turn, attempt)
        # side by side: one round trip in place of two, and a successor that finds either of them knows enough
        _, (verdicts, _) = await both(
            lane.journal.write(entry), lane.log().append([*leading, started], since_ms=turn.since_ms)
        )
        first_offset = first_offset_of(turn.entry, lane.log().folded(turn.turn))
        # whatever the verdict says: the run is on the log, and is never tried under its number again
        turn.note(TurnEvent.BEGAN, attempt=attempt.number, run=attempt.run, first_offset=first_offset, runs=runs)
        return verdicts[-1]

    def start_of(self, turn: OpenTurn, call: Call) -> StartDecision:
        """Whether the next attempt goes on from what the one before it has said."""
        if turn.failed is None:
            return Restart("nothing_said")
        decision = decide_start(
            turn.failed.said,
            able="prefix" in call.target.abilities,
            answer_tokens=self.calls.answer_tokens(turn, call.served),
        )
        log.info("attempt_follows", turn=turn.turn, target=call.target.name, decision=str(decision))
        return decision

    async def stream(
        self, lane: SessionLane, turn: OpenTurn, attempt: Attempt, route: TurnRoute
    ) -> tuple[Attempt, StreamResult]:
        """Stream the answer of an attempt that has begun; returns the attempt whose answer counts, and how it went.

        Where its model hedges and it is slow to begin, another target is asked beside it and may win (`hedged_call`).
        Raises AppendFailed, LogError, RunVoided. Every call is finished in any case.
        Cancellation: the calls are closed and nothing more is written; the next owner starts another attempt.
        """
        delay_s = self.attempts.hedge_delay_s(attempt)
        if delay_s is not None:
            return await HedgedCall(self.attempts, self.records, lane, turn, route).run(attempt, delay_s)
        stream = self.attempts.stream_of(lane, attempt, may_leave=partial(route.has_stand_in, attempt.call))
        return attempt, await self.attempts.run_call(turn, attempt, stream)

    async def end(self, lane: SessionLane, turn: OpenTurn, attempt: Attempt, result: StreamResult) -> None:
        """Write the ending, the record and the closed entry, in this order. Raises RunVoided."""
        recorder = attempt.recorder
        price = self.calls.price_of(result.usage, attempt.target)
        ended = TurnEnded(
            turn=turn.turn,
            attempt=attempt.number,
            run=attempt.run,
            reason=result.ending.reason,
            usage=result.usage,
            cost_nano_usd=price.cost_nano_usd,
            price_version=price.version,
            error=result.ending.error,
            text_sha256=recorder.whole_hash.hexdigest(),
            text_chars=recorder.whole_chars,
            forgotten=result.ending.forgotten,
            metadata=turn.prompt.metadata,
            at_us=self._clock.now_us(),
        )
        # before the end is told: who asks next must not find this run in the way
        self._budgets.trim(lane, turn, attempt.run, used_by(result.usage, price.cost_nano_usd))
        verdict = await self.append_end(lane, turn, ended)
        if verdict is Verdict.AFTER_END:
            await self.records.close(lane, turn)
            return
        if verdict is not Verdict.EFFECTIVE:
            raise RunVoided(f"turn {turn.turn}, attempt {attempt.number}: its ending is {verdict.value}")
        text = attempt.whole_text(result)
        if recorder.whole_chars and not text:
            self.conversations.forget(lane.log().key)  # too long to be kept: read again if it is needed
        # before the next await: readers have seen the end by now, and who asks next is told this answer
        self.conversations.add(lane.log(), turn.turn, turn.prompt, text)
        self.count(ended, None if is_cached(attempt.call) else result.ttft_us)
        self.remember(lane, turn, attempt, result)
        await self.records.finish(lane, turn, attempt, ended, result)
        await self.records.close_entry(lane, turn, ended)

    async def end_unstarted(
        self, lane: SessionLane, turn: OpenTurn, ending: Ending, *, queued: TurnQueued | None = None
    ) -> None:
        """End a turn without a(nother) call: cancelled while it waited, rejected, expired, given up.

        Whatever attempt the log shows is ended with it, and billed for what it wrote. Raises AppendFailed, LogError,
        RunVoided.
        """
        for _ in range(APPEND_TRIES_MAX):
            if lane.is_refused(turn):
                await self.records.close(lane, turn)
                return
            ended = await self.ending_of_folded(lane, turn, ending)
            verdict = await self.append_end(lane, turn, ended, queued=queued)
            if verdict is Verdict.EFFECTIVE:
                self._turns.labels(reason=ended.reason).inc()
            if verdict in (Verdict.EFFECTIVE, Verdict.AFTER_END):
                await self.records.close(lane, turn)
                return
            if lane.log().folded(turn.turn) is None:  # the log was lost: tell the turn anew
                queued = queued or turn.queued(position=0, at_us=self._clock.now_us())
        raise RunVoided(f"turn {turn.turn}: {APPEND_TRIES_MAX} endings did not count")

    async def refuse_by_limit(
        self, lane: SessionLane, turn: OpenTurn, refusal: Refusal, queued: TurnQueued | None
    ) -> None:
        """A turn finds no room when its time comes. One that has not begun may be sent again, where that can help.

        Not so one of several of its prompt: the others may be answered, so the prompt's id is used.
        """
        if refusal.temporary and not turn.entry.attempt and not turn.prompt.models:
            await self.refuse(lane, [turn], limit_error(refusal))
        else:
            await self.end_unstarted(lane, turn, limit_ending(refusal), queued=queued)

    async def refuse(self, lane: SessionLane, turns: Sequence[OpenTurn], error: TurnError) -> None:
        """Refuse a sending of a prompt that may be sent again (decision 90); of its turns those that another worker has
        begun are ended. Raises AppendFailed, LogError, RunVoided."""
        for _ in range(REFUSALS_MAX):  # the first, unless the log shows a later sending by now
            folded = [lane.log().folded(turn.turn) for turn in turns]
            newest = max((known.try_offset for known in folded if known is not None), default=-1)
            refused = PromptRefused(
                prompt_id=turns[0].prompt.prompt_id,
                code=error.code,
                message=error.message,
                turns=tuple(turn.turn for turn in turns),
                try_offset=max(newest, turns[0].entry.try_offset),
                temporary=True,
                retry_after_s=error.retry_after_s,
                metadata=turns[0].prompt.metadata,
                at_us=self._clock.now_us(),
            )
            await lane.log().append([refused], since_ms=turns[0].since_ms)
            if all(map(lane.is_refused, turns)):
                break
        for turn in reversed(turns):
            if lane.is_refused(turn):
                self.count(await self.records.take_back(lane, turn, refused), None)
            else:
                await self.end_unstarted(lane, turn, Ending("rejected", error))

    async def ending_of_folded(self, lane: SessionLane, turn: OpenTurn, ending: Ending) -> TurnEnded:
        """The ending of whatever attempt the log shows at this moment.

        It carries no hash of the text: the worker that the attempt is taken from may append to it until the end lands.
        """
        folded, usage, target = lane.log().folded(turn.turn), Usage(), None
        if folded is not None and folded.current is not None:
            fold = await lane.log().records_between(folded.first_offset, lane.log().fold.next_offset)
            usage = await self.records.estimated(lane, turn, fold.turns[turn.turn].current)
            started = folded.current.started
            target = self.calls.target_called(turn, started.provider, started.model)
            failed = turn.failed
            if failed is not None and failed.run == folded.run:
                usage = failed.result.usage
        price = self.calls.price_of(usage, target)
        return TurnEnded(
            turn=turn.turn,
            attempt=folded.attempt if folded else 0,
            run=folded.run if folded else "",
            reason=ending.reason,
            usage=usage,
            cost_nano_usd=price.cost_nano_usd,
            price_version=price.version if usage != Usage() else "",
            error=ending.error,
            forgotten=ending.forgotten,
            metadata=turn.prompt.metadata,
            at_us=self._clock.now_us(),
        )

    async def append_end(
        self, lane: SessionLane, turn: OpenTurn, ended: TurnEnded, *, queued: TurnQueued | None = None
    ) -> Verdict:
        """Append the ending; says whether it counts."""
        events: list[SessionEvent] = [queued, ended] if queued else [ended]
        verdicts, _ = await lane.log().append(events, since_ms=turn.since_ms)
        verdict = verdicts[-1]
        if verdict in (Verdict.EFFECTIVE, Verdict.AFTER_END):
            turn.note(TurnEvent.ENDED)
        if verdict is not Verdict.EFFECTIVE:
            log.warning("ending_void", turn=turn.turn, attempt=ended.attempt, verdict=verdict.value)
        first_offset = first_offset_of(turn.entry, lane.log().folded(turn.turn))
        turn.note(TurnEvent.LOCATED, first_offset=first_offset)
        return verdict

    def remember(self, lane: SessionLane, turn: OpenTurn, attempt: Attempt, result: StreamResult) -> None:
        """Keep a whole answer for the next who may have it: one that a single call said from its first word on."""
        folded = lane.log().folded(turn.turn)
        started = folded.current.started if folded is not None and folded.current is not None else None
        if result.ending.reason != "complete" or started is None or started.cached or started.from_seq:
            return
        self._budgets.learn(attempt, result.usage)
        self.answers.keep(
            turn.prompt,
            attempt.call.served,
            attempt.history.messages,
            self.calls.answer_tokens(turn, attempt.call.served),
            model=started.model,
            text=result.text,
        )

    def count(self, ended: TurnEnded, provider_ttft_us: int | None) -> None:
        self._turns.labels(reason=ended.reason).inc()
        self._tokens.labels(kind="input").inc(ended.usage.input_tokens)
        self._tokens.labels(kind="output").inc(ended.usage.output_tokens)
        if provider_ttft_us is not None:
            self._ttft.observe(provider_ttft_us / 1e6)


def goes_on_from_own(turn: OpenTurn, folded: FoldedTurn | None) -> bool:
    """Whether the run that the newest one goes on from is this worker's: another's text may be as long, by chance."""
    return folded is not None and bool(folded.void_runs) and folded.void_runs[-1].run in turn.runs
