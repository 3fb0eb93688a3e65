"""The shell of one turn: begin an attempt, stream the model's answer onto the log, end it, record it.

The order, and what a death between two lines leaves behind:

1. journal entry `running` and `TurnStarted`, sent together, both acknowledged: a successor finds either of them and
   starts the next attempt;
2. the fold says that this run is the current one: only now the provider is called, and paid;
3. tokens, as they come: a successor voids the run and starts the next attempt;
4. `TurnEnded` acknowledged and effective: from here on the turn has its one ending;
5. the record, then the journal entry `ended`: a successor that finds 4 without 5 writes both anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

import msgspec
import structlog

from infra.clock import Clock
from infra.targets.model_catalogue import ModelCatalogue, ServedModel, Target
from infra.telemetry.metric_names import (
    WORKER_PROVIDER_TTFT_SECONDS,
    WORKER_TOKENS,
    WORKER_TURNS,
    WORKER_TURNS_RUNNING,
)
from infra.telemetry.metrics import Metrics
from processors.attempt_recorder import AttemptRecorder
from processors.attempt_stream import AttemptStream, StreamResult
from processors.conversation import Conversations
from processors.decisions.answer_watch import AnswerWatch, AnswerWatchLimits
from processors.decisions.gibberish_watch import GibberishLimits
from processors.decisions.history_cut import CutHistory
from processors.decisions.pricing import Price, cost_of
from processors.decisions.provider_router import CallNeeds
from processors.decisions.repetition_watch import RepetitionLimits
from processors.decisions.token_count import count_tokens, estimated_usage
from processors.decisions.turn_ending import Ending
from processors.log_appender import LogAppender
from processors.providers.provider import ChatRequest
from processors.session_lane import OpenTurn, SessionLane
from processors.side_by_side import both
from processors.target_pool import Call, TargetPool
from processors.token_publisher import RunVoided
from processors.turn_route import ROUTE_S, TurnRoute
from schemas.journal import JournalEntry
from schemas.records import AttemptOutcome
from schemas.session_events import EndReason, SessionEvent, TurnEnded, TurnQueued, TurnStarted, Usage
from schemas.turn_fold import FoldedRun, FoldedTurn, Verdict

__all__ = ["Attempt", "TurnRunner"]

log = structlog.get_logger(__name__)

APPEND_TRIES_MAX: Final = 5
"""How often a start or an end is appended anew because the log had moved on meanwhile."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt whose `TurnStarted` is on the log and counts."""

    number: int
    run: str
    history: CutHistory
    call: Call
    recorder: AttemptRecorder


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
    ) -> None:
        self.appender = appender
        self.conversations = conversations
        self.clock = clock
        self.pool = pool
        self.catalogue = catalogue
        self.running = metrics.gauge(WORKER_TURNS_RUNNING)
        self.turns = metrics.counter(WORKER_TURNS)
        self.tokens = metrics.counter(WORKER_TOKENS)
        self.ttft = metrics.histogram(WORKER_PROVIDER_TTFT_SECONDS)

    async def begin(
        self, lane: SessionLane, turn: OpenTurn, call: Call, *, queued: TurnQueued | None = None
    ) -> Attempt | None:
        """Start the next attempt at a target; None: the log shows that the turn is over.

        `queued` is appended before it, in the same request. Raises AppendFailed, LogError, and RunVoided where
        another worker's attempt came first: to try a higher number at once would void a run that was just paid for.
        """
        if turn.over:
            await self.close(lane, turn)
            return None
        history = await self.history_of(lane, turn, call)
        for _ in range(APPEND_TRIES_MAX):
            folded = lane.log().folded(turn.turn)
            if folded is None and queued is None:  # the log was lost: tell the turn anew
                queued = turn.queued(position=0, at_us=self.clock.now_us())
            leading: list[SessionEvent] = [queued] if queued else []
            number = max(turn.entry.attempt, folded.attempt if folded else 0) + 1
            run = uuid4().hex[:12]
            turn.runs.add(run)
            entry = msgspec.structs.replace(
                turn.entry, phase="running", attempt=number, run=run, updated_at_us=self.clock.now_us()
            )
            started = TurnStarted(
                turn=turn.turn,
                attempt=number,
                run=run,
                provider=call.provider.name,
                model=call.target.model,
                cause=turn.cause,
                history_messages_cut=history.messages_cut,
                at_us=self.clock.now_us(),
            )
            _, (verdicts, _) = await both(
                lane.journal.write(entry), lane.log().append([*leading, started], since_ms=turn.since_ms)
            )
            folded = lane.log().folded(turn.turn)
            turn.entry = msgspec.structs.replace(
                turn.entry, phase="running", attempt=number, run=run, first_offset=first_offset_of(turn.entry, folded)
            )
            if verdicts[-1] is Verdict.EFFECTIVE:
                await self.record_void_runs(lane, turn)
                recorder = AttemptRecorder(self.appender, lane.key, turn.entry, attempt=number, run=run)
                return Attempt(number, run, history, call, recorder)
            if verdicts[-1] is Verdict.AFTER_END:
                await self.close(lane, turn)
                return None
            if folded is not None and folded.run not in turn.runs:
                raise RunVoided(f"turn {turn.turn}: attempt {folded.attempt} is another worker's")
            turn.cause = "append_lost"
        raise RunVoided(f"turn {turn.turn}: {APPEND_TRIES_MAX} starts did not count")

    async def stream(self, lane: SessionLane, turn: OpenTurn, attempt: Attempt) -> StreamResult:
        """Stream the answer of an attempt that has begun. Raises AppendFailed, LogError, RunVoided.

        The call is finished in any case.
        Cancellation: the call is closed and nothing more is written; the next owner starts another attempt.
        """
        call = attempt.call
        stream = AttemptStream(
            provider=call.provider,
            writer=lane.log(),
            clock=self.clock,
            recorder=attempt.recorder,
            watch=watch_of(call.served),
        )
        request = ChatRequest(
            model=call.target.model,
            messages=attempt.history.messages,
            max_tokens=self.answer_tokens(turn, call.served),
        )
        self.running.inc()
        error, used = None, 0
        try:
            result = await stream.run(turn, request, attempt=attempt.number, run=attempt.run)
            error, used = result.failure, result.usage.input_tokens + result.usage.output_tokens
        finally:
            self.running.dec()
            self.pool.finish(call, error=error, tokens_used=used, spoke=stream.chunks > 0)
        return result

    async def end(self, lane: SessionLane, turn: OpenTurn, attempt: Attempt, result: StreamResult) -> None:
        """Write the ending, the record and the closed entry, in this order. Raises RunVoided."""
        recorder = attempt.recorder
        price = self.price_of(result.usage, attempt.call.target)
        ended = TurnEnded(
            turn=turn.turn,
            attempt=attempt.number,
            run=attempt.run,
            reason=result.ending.reason,
            usage=result.usage,
            cost_nano_usd=price.cost_nano_usd,
            price_version=price.version,
            error=result.ending.error,
            text_sha256=recorder.hash.hexdigest(),
            text_chars=recorder.chars,
            at_us=self.clock.now_us(),
        )
        verdict = await self.append_end(lane, turn, ended)
        if verdict is Verdict.AFTER_END:
            await self.close(lane, turn)
            return
        if verdict is not Verdict.EFFECTIVE:
            raise RunVoided(f"turn {turn.turn}, attempt {attempt.number}: its ending is {verdict.value}")
        if recorder.chars and not result.text:
            self.conversations.forget(lane.log().key)  # too long to be kept: read again if it is needed
        self.conversations.add(lane.log(), turn.prompt, result.text)
        self.count(ended, result)
        await recorder.finish(self.outcome(turn, attempt, ended, result))
        await self.close_entry(lane, turn, ended)

    async def record_failed(self, turn: OpenTurn, attempt: Attempt, result: StreamResult) -> None:
        """The record of an attempt that failed and that another attempt follows. Raises AppendFailed."""
        price = self.price_of(result.usage, attempt.call.target)
        ended = TurnEnded(
            turn=turn.turn,
            attempt=attempt.number,
            run=attempt.run,
            reason="error",
            usage=result.usage,
            cost_nano_usd=price.cost_nano_usd,
            price_version=price.version,
            error=result.ending.error,
            at_us=self.clock.now_us(),
        )
        outcome = self.outcome(turn, attempt, ended, result)
        await attempt.recorder.finish(msgspec.structs.replace(outcome, reason="void"))
        turn.recorded_runs.add(attempt.run)

    async def end_unstarted(
        self, lane: SessionLane, turn: OpenTurn, ending: Ending, *, queued: TurnQueued | None = None
    ) -> None:
        """End a turn without a(nother) call: cancelled in line, rejected, expired, given up.

        Whatever attempt the log shows is ended with it, and billed for what it wrote. Raises AppendFailed, LogError,
        RunVoided.
        """
        for _ in range(APPEND_TRIES_MAX):
            ended = await self.ending_of_folded(lane, turn, ending)
            verdict = await self.append_end(lane, turn, ended, queued=queued)
            if verdict is Verdict.EFFECTIVE:
                self.turns.labels(reason=ended.reason).inc()
            if verdict in (Verdict.EFFECTIVE, Verdict.AFTER_END):
                await self.close(lane, turn)
                return
            if lane.log().folded(turn.turn) is None:  # the log was lost: tell the turn anew
                queued = queued or turn.queued(position=0, at_us=self.clock.now_us())
        raise RunVoided(f"turn {turn.turn}: {APPEND_TRIES_MAX} endings did not count")

    async def ending_of_folded(self, lane: SessionLane, turn: OpenTurn, ending: Ending) -> TurnEnded:
        """The ending of whatever attempt the log shows at this moment.

        It carries no hash of the text: the worker that the attempt is taken from may append to it until the end lands.
        """
        folded, usage, target = lane.log().folded(turn.turn), Usage(), None
        if folded is not None and folded.current is not None:
            fold = await lane.log().records_between(folded.first_offset, lane.log().fold.next_offset)
            usage = await self.estimated(lane, turn, fold.turns[turn.turn].current)
            started = folded.current.started
            target = self.target_called(turn, started.provider, started.model)
            if folded.run in turn.recorded_runs:
                usage = Usage()  # a failed attempt that is on record already, with what it cost
        price = self.price_of(usage, target)
        return TurnEnded(
            turn=turn.turn,
            attempt=folded.attempt if folded else 0,
            run=folded.run if folded else "",
            reason=ending.reason,
            usage=usage,
            cost_nano_usd=price.cost_nano_usd,
            price_version=price.version if usage != Usage() else "",
            error=ending.error,
            at_us=self.clock.now_us(),
        )

    async def close(self, lane: SessionLane, turn: OpenTurn) -> None:
        """Close a turn that the log shows ended: write what may be missing of its records, then the entry."""
        turn.over = True
        end = await lane.log().reader.end(lane.log().place.topic, lane.log().place.partition)
        folded = lane.log().folded(turn.turn)
        if folded is None or folded.attempt:
            self.conversations.forget(lane.log().key)  # what the turn left on the log is not among its messages
        ended = await self.record_rest(lane, turn, end)
        if ended is not None:
            await self.close_entry(lane, turn, ended)

    async def append_end(
        self, lane: SessionLane, turn: OpenTurn, ended: TurnEnded, *, queued: TurnQueued | None = None
    ) -> Verdict:
        """Append the ending; says whether it counts."""
        events: list[SessionEvent] = [queued, ended] if queued else [ended]
        verdicts, _ = await lane.log().append(events, since_ms=turn.since_ms)
        verdict = verdicts[-1]
        if verdict in (Verdict.EFFECTIVE, Verdict.AFTER_END):
            turn.over = True
        if verdict is not Verdict.EFFECTIVE:
            log.warning("ending_void", turn=turn.turn, attempt=ended.attempt, verdict=verdict.value)
        first_offset = first_offset_of(turn.entry, lane.log().folded(turn.turn))
        turn.entry = msgspec.structs.replace(turn.entry, first_offset=first_offset)
        return verdict

    async def record_void_runs(self, lane: SessionLane, turn: OpenTurn) -> None:
        """Records of the attempts that the one just started made void, as far as they got."""
        folded = lane.log().folded(turn.turn)
        if folded is None or all(run.run in turn.recorded_runs for run in folded.void_runs):
            return
        fold = await lane.log().records_between(folded.first_offset, lane.log().fold.next_offset)
        full = fold.turns.get(turn.turn)
        for run in full.void_runs if full else ():
            await self.record_void(lane, turn, run)

    async def record_rest(self, lane: SessionLane, turn: OpenTurn, end: int) -> TurnEnded | None:
        """Records of all runs of a turn that the log shows ended, rebuilt from the log."""
        start = await self.start_of(lane, turn)
        fold = await lane.log().records_between(start, end)
        full = fold.turns.get(turn.turn)
        if full is None or full.ended is None:
            return None
        for run in full.void_runs:
            await self.record_void(lane, turn, run)
        await self.record_run(lane, turn, full.current, full.ended)
        return full.ended

    async def record_void(self, lane: SessionLane, turn: OpenTurn, run: FoldedRun) -> None:
        if run.run not in turn.recorded_runs:
            await self.record_run(lane, turn, run, None)
            turn.recorded_runs.add(run.run)

    async def record_run(
        self, lane: SessionLane, turn: OpenTurn, run: FoldedRun | None, ended: TurnEnded | None
    ) -> None:
        """The record of a run as the log shows it; usage is estimated where nobody reported it."""
        recorder = AttemptRecorder(
            self.appender, lane.key, turn.entry, attempt=run.attempt if run else 0, run=run.run if run else ""
        )
        if run is not None:
            await recorder.add(run.chunks, run.gaps_us)
        usage = ended.usage if ended else await self.estimated(lane, turn, run)
        target = self.target_called(turn, run.started.provider, run.started.model) if run else None
        price = self.price_of(usage, target)
        await recorder.finish(
            AttemptOutcome(
                reason=ended.reason if ended else "void",
                cause=run.started.cause if run else "first",
                error_code=ended.error.code if ended and ended.error else "",
                provider=run.started.provider if run else "",
                model=run.started.model if run else turn.prompt.model or self.catalogue().default,
                usage=usage,
                cost_nano_usd=price.cost_nano_usd,
                price_version=price.version,
                accepted_at_us=turn.entry.accepted_at_us,
                requested_at_us=run.started.at_us if run else 0,
                first_chunk_at_us=run.first_at_us if run else 0,
                ended_at_us=ended.at_us if ended else (run.last_at_us or run.started.at_us if run else 0),
                history_messages_cut=run.started.history_messages_cut if run else 0,
            )
        )

    async def estimated(self, lane: SessionLane, turn: OpenTurn, run: FoldedRun | None) -> Usage:
        if run is None:
            return Usage(estimated=True)
        history = await self.history_of(lane, turn, None)
        return estimated_usage(history.messages, "".join(run.chunks), run.started.model)

    async def close_entry(self, lane: SessionLane, turn: OpenTurn, ended: TurnEnded) -> None:
        folded = lane.log().folded(turn.turn)
        offset = folded.last_offset if folded is not None else -1
        await lane.journal.write(closed(turn.entry, ended.reason, offset, self.clock.now_us()))

    async def history_of(self, lane: SessionLane, turn: OpenTurn, call: Call | None) -> CutHistory:
        """What is sent to the model; without a call, what the largest context of the turn's targets takes."""
        served = self.served_of(turn)
        targets = [call.target] if call else list(served.targets)
        return await self.conversations.prepare(
            lane.log(),
            turn.prompt,
            read_from=lane.journal.first_offset_of(turn.entry.user, turn.entry.session),
            context_tokens=max(target.context_tokens for target in targets),
            answer_tokens=self.answer_tokens(turn, served),
        )

    async def route_of(self, lane: SessionLane, turn: OpenTurn) -> TurnRoute:
        """The search for a target, from its beginning. Raises LogError."""
        served = self.served_of(turn)
        history = await self.history_of(lane, turn, None)
        answer_tokens = self.answer_tokens(turn, served)
        least = count_tokens(turn.prompt.messages[-1].content if turn.prompt.messages else turn.prompt.input)
        needs = CallNeeds(context_tokens=least + answer_tokens, substitute=served.substitute)
        deadline_s = self.clock.monotonic_s() + ROUTE_S
        return TurnRoute(self.pool, self.clock, served, needs, history.input_tokens + answer_tokens, deadline_s)

    def served_of(self, turn: OpenTurn) -> ServedModel:
        """The model that the turn asks for; one that is served no longer is answered by the default one."""
        catalogue = self.catalogue()
        return catalogue.find(turn.prompt.model) or catalogue.models[catalogue.default]

    def price_of(self, usage: Usage, target: Target | None) -> Price:
        if target is None:
            return cost_of(usage, "", self.clock.now_us())
        return cost_of(usage, target.model, self.clock.now_us(), provider_url=target.base_url or "")

    def target_called(self, turn: OpenTurn, provider: str, model: str) -> Target:
        """The target of an attempt, by what its start says; else the first one of its turn."""
        targets = self.catalogue().targets.values()
        named = (target for target in targets if (target.provider, target.model) == (provider, model))
        return next(named, self.served_of(turn).targets[0])

    async def start_of(self, lane: SessionLane, turn: OpenTurn) -> int:
        first_offset = first_offset_of(turn.entry, lane.log().folded(turn.turn))
        if first_offset >= 0:
            return first_offset
        place = lane.log().place
        return await lane.log().reader.offset_at(place.topic, place.partition, max(0, turn.since_ms - 1_000))

    def count(self, ended: TurnEnded, result: StreamResult) -> None:
        self.turns.labels(reason=ended.reason).inc()
        self.tokens.labels(kind="input").inc(ended.usage.input_tokens)
        self.tokens.labels(kind="output").inc(ended.usage.output_tokens)
        if result.ttft_us is not None:
            self.ttft.observe(result.ttft_us / 1e6)

    def outcome(self, turn: OpenTurn, attempt: Attempt, ended: TurnEnded, result: StreamResult) -> AttemptOutcome:
        return AttemptOutcome(
            reason=ended.reason,
            cause=turn.cause,
            error_code=ended.error.code if ended.error else "",
            provider=attempt.call.provider.name,
            model=attempt.call.target.model,
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
        )

    def answer_tokens(self, turn: OpenTurn, served: ServedModel) -> int:
        return turn.prompt.max_tokens or served.answer_tokens_max


def first_offset_of(entry: JournalEntry, folded: FoldedTurn | None) -> int:
    """Where the turn begins on the log, as far as it is known."""
    return folded.first_offset if folded is not None else entry.first_offset


def closed(entry: JournalEntry, reason: EndReason, offset: int, now_us: int) -> JournalEntry:
    """The entry of a turn that is over: without its prompt, for deduplication only."""
    return msgspec.structs.replace(
        entry, phase="ended", prompt=None, reason=reason, last_offset=offset, updated_at_us=now_us
    )


def watch_of(served: ServedModel) -> AnswerWatch:
    """What an answer of this model is watched for."""
    return AnswerWatch(
        AnswerWatchLimits(
            repetition=RepetitionLimits() if served.watch_repetition else None,
            gibberish=GibberishLimits() if served.watch_gibberish else None,
        )
    )
