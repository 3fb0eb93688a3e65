"""Makes the calls of attempts: what an attempt asks, the stream that its answer comes by, and what its end teaches.

Nothing here says when an attempt begins or what becomes of its turn: that is `turn_runner`, and `hedged_call` where two
calls compete.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from infra.targets.model_catalogue import ServedModel
from infra.telemetry.metric_names import WORKER_TURNS_RUNNING
from infra.telemetry.metrics import Metrics
from processors.attempts.answer_cache import is_cached
from processors.attempts.attempt_stream import AttemptStream
from processors.attempts.decisions.answer_watchdog import AnswerWatchdog, AnswerWatchdogLimits
from processors.attempts.decisions.gibberish_watchdog import GibberishLimits
from processors.attempts.decisions.hedge_delay import FirstTokenTimes, hedge_delay_s, observed, usual_first_token_s
from processors.attempts.decisions.repetition_watchdog import RepetitionLimits
from processors.attempts.turn_calls import TurnCalls
from processors.sessions.attempt import Attempt, StreamResult
from processors.sessions.decisions.continuation import GoOn, StartDecision
from processors.sessions.decisions.history_cut import CutHistory
from processors.sessions.open_turn import OpenTurn
from processors.sessions.session_lane import SessionLane
from processors.targets.target_pool import Call
from processors.writing.attempt_recorder import AttemptRecorder, PartLimits
from processors.writing.log_appender import LogAppender
from schemas.session_events import StartCause, TurnStarted

__all__ = ["AttemptCalls"]


class AttemptCalls:
    """The calls of one worker's attempts."""

    def __init__(self, *, appender: LogAppender, calls: TurnCalls, metrics: Metrics, part_limits: PartLimits) -> None:
        self._appender = appender
        self._part_limits = part_limits
        self.calls = calls
        self.first_tokens: dict[str, FirstTokenTimes] = {}
        """By target."""
        self._running = metrics.gauge(WORKER_TURNS_RUNNING)

    def attempt_of(
        self,
        lane: SessionLane,
        turn: OpenTurn,
        call: Call,
        start: StartDecision,
        *,
        history: CutHistory,
        number: int,
        run: str,
        cause: StartCause,
    ) -> Attempt:
        """An attempt that is to begin, from the first word on or from what a failed one has said."""
        failed, from_seq, answer_tokens = None, 0, self.calls.answer_tokens(turn, call.served)
        if isinstance(start, GoOn):
            failed, from_seq, answer_tokens = turn.failed, start.from_seq, start.answer_tokens
        recorder = AttemptRecorder(
            self._appender,
            lane.key,
            turn.entry,
            attempt=number,
            run=run,
            from_seq=from_seq,
            before=failed.attempt.recorder if failed else None,
            limits=self._part_limits,
        )
        return Attempt(
            number=number,
            run=run,
            cause=cause,
            history=history,
            call=call,
            recorder=recorder,
            answer_tokens=answer_tokens,
            temperature=turn.prompt.temperature,
            from_seq=from_seq,
            before=failed.said.text if failed else "",
        )

    def started_of(self, turn: OpenTurn, attempt: Attempt) -> TurnStarted:
        """The record that begins it."""
        return TurnStarted(
            turn=turn.turn,
            attempt=attempt.number,
            run=attempt.run,
            provider=attempt.provider,
            model=attempt.target.model,
            cause=attempt.cause,
            cached=is_cached(attempt.call),
            from_seq=attempt.from_seq,
            history_messages_cut=attempt.history.messages_cut,
            at_us=self.calls.clock.now_us(),
        )

    def hedge_delay_s(self, attempt: Attempt) -> float | None:
        """After how long a silence of it another target is asked beside it; None: not at all."""
        call = attempt.call
        hedges = call.served.hedge and not attempt.from_seq and not is_cached(call)
        return hedge_delay_s(self.first_tokens.get(attempt.target.name, ())) if hedges else None

    def stream_of(
        self,
        lane: SessionLane,
        attempt: Attempt,
        *,
        may_leave: Callable[[], bool],
        before_first: Callable[[], Awaitable[None]] | None = None,
        leads: bool = True,
    ) -> AttemptStream:
        """The call of an attempt, not made yet."""
        call, pool = attempt.call, self.calls.pool

        def heard(chunks: int) -> None:
            tokens = attempt.history.input_tokens
            pool.heard(call, sent_s=stream.requested_s, chunks=chunks, input_tokens=tokens)

        stream = AttemptStream(
            provider=call.provider,
            writer=lane.log(),
            clock=self.calls.clock,
            recorder=attempt.recorder,
            watchdog=watchdog_of(call.served),
            from_seq=attempt.from_seq,
            on_limits=lambda seen: pool.headers_seen(call, seen),
            on_heard=heard,
            before_first=before_first,
            may_leave=may_leave,
            leads=leads,
            meter=attempt.meter,
        )
        return stream

    async def run_call(self, turn: OpenTurn, attempt: Attempt, stream: AttemptStream) -> StreamResult:
        """Make a call and finish it. Raises AppendFailed, LogError, RunVoided.

        Cancellation: the call is closed, and nothing more is written.
        """
        self.calls.answers.count(turn.prompt, attempt.call)
        self._running.inc()
        error, used = None, 0
        try:
            request = attempt.request(usual_s=usual_first_token_s(self.first_tokens.get(attempt.target.name, ())))
            result = await stream.run(turn, request, attempt=attempt.number, run=attempt.run)
            error, used = result.failure, result.usage.input_tokens + result.usage.output_tokens
            if result.ttft_us is not None:
                self.spoke_after(attempt, result.ttft_us / 1e6)
        finally:
            self._running.dec()
            if stream.beaten:  # it was asked, if in vain
                used = attempt.input_usage.input_tokens
                self.spoke_after(attempt, self.calls.clock.monotonic_s() - stream.requested_s)
            spoke, chunks = stream.chunks > 0, stream.paced_chunks
            self.calls.pool.finish(attempt.call, error=error, tokens_used=used, spoke=spoke, chunks=chunks)
        return result

    def spoke_after(self, attempt: Attempt, first_token_s: float) -> None:
        """Note how long a target took to its first token, or at least would have taken."""
        name = attempt.target.name
        self.first_tokens[name] = observed(self.first_tokens.get(name, ()), first_token_s)


def watchdog_of(served: ServedModel) -> AnswerWatchdog:
    """What an answer of this model is watched for."""
    return AnswerWatchdog(
        AnswerWatchdogLimits(
            repetition=RepetitionLimits() if served.watch_repetition else None,
            gibberish=GibberishLimits() if served.watch_gibberish else None,
        )
    )
