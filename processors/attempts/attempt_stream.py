"""One call to the provider, chunk by chunk onto the session's log.

Measures what analytics wants (time to first token, gaps), holds the read from the provider back while the log is
behind, and turns whatever ends the stream into an ending. However long the answer, memory stays flat: the text is kept
up to a bound (`decisions/answer_text.py`), publisher and recorder are bounded in bytes. The recorder hears of chunks
from the publisher, once the log has them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import msgspec
import structlog

from infra.async_waits import end_tasks
from infra.clock import Clock
from infra.kafka.cluster_errors import ClusterUnavailable
from processors.attempts.decisions.answer_text import AnswerText
from processors.attempts.decisions.answer_watchdog import AnswerWatchdog
from processors.attempts.token_publisher import TokenPublisher
from processors.ledger.run_meter import LimitMet, RunMeter
from processors.providers.decisions.finish_reasons import FinishMeaning, meaning_of
from processors.providers.decisions.rate_headers import RateHeaders
from processors.providers.provider import (
    ChatProvider,
    ChatRequest,
    FinishChunk,
    LimitsChunk,
    ProviderBabbled,
    ProviderChunk,
    ProviderError,
    TextChunk,
    UsageChunk,
)
from processors.sessions.attempt import StreamResult
from processors.sessions.decisions.token_count import estimated_usage
from processors.sessions.decisions.turn_ending import (
    Ending,
    budget_ending,
    ending_of_failure,
    ending_of_finish,
    ending_of_stop,
)
from processors.sessions.open_turn import OpenTurn
from processors.sessions.session_writer import SessionWriter
from processors.targets.decisions.call_limit import REVIEW_S
from processors.writing.attempt_recorder import AttemptRecorder
from schemas.session_events import TurnError, TurnWaiting, Usage, WaitsFor

__all__ = ["AttemptStream"]

log = structlog.get_logger(__name__)

STRAYED: Final = {"repetition": "went round in circles", "gibberish": "was no language any more"}
CHUNK_CHARS_MAX: Final = 8_192
"""A longer chunk is cut into several, so that no record is large."""


@dataclass(eq=False, kw_only=True)
class AttemptStream:
    """The stream of one call: reads it, appends what it brings, and says how it ended."""

    provider: ChatProvider
    writer: SessionWriter
    clock: Clock
    recorder: AttemptRecorder
    watchdog: AnswerWatchdog
    from_seq: int = 0
    on_limits: Callable[[RateHeaders], None] = lambda _: None
    """Told what the provider's headers say is left of its limits."""
    on_heard: Callable[[int], None] = lambda _: None
    """Told, with the first chunk and then about every REVIEW_S, how many have come (`paced_chunks`)."""
    before_first: Callable[[], Awaitable[None]] | None = None
    """Awaited before the first chunk is written; what it raises ends the call."""
    may_leave: Callable[[], bool] = lambda: False
    """Asked while the first token is late: whether somebody else takes the call."""
    leads: bool = True
    """A cancel of the turn ends this call."""
    meter: RunMeter | None = None
    """What the answer may use of its user's account."""
    _tell_from_s: float = field(default=0.0, init=False)
    _is_held_back: bool = field(default=False, init=False)
    """Whether a reader's pace may hold the answer back."""
    beaten: bool = field(default=False, init=False)
    """Another call of the turn has spoken first."""
    _scope: asyncio.Timeout | None = field(default=None, init=False)
    _told: WaitsFor | None = field(default=None, init=False)
    _telling: set[asyncio.Task[None]] = field(default_factory=set, init=False)
    _answer: AnswerText = field(default_factory=AnswerText, init=False)
    _finish_reason: str | None = field(default=None, init=False)
    _failure: ProviderError | None = field(default=None, init=False)
    _usage: Usage | None = field(default=None, init=False)
    _is_usage_early: bool = field(default=False, init=False)
    """Text has come after it."""
    requested_at_us: int = field(default=0, init=False)
    requested_s: float = field(default=0.0, init=False)
    _first_chunk_at_us: int = field(default=0, init=False)
    _first_s: float = field(default=0.0, init=False)
    _last_s: float = field(default=0.0, init=False)

    @property
    def chunks(self) -> int:
        """How many it has said."""
        return self._answer.chunks

    @property
    def paced_chunks(self) -> int:
        """How many have come at the provider's own pace: none where a reader's may hold them back."""
        return 0 if self._is_held_back else self.chunks

    async def run(self, turn: OpenTurn, request: ChatRequest, *, attempt: int, run: str) -> StreamResult:
        """Call the provider and publish until it ends, fails or is stopped. Raises RunVoided, AppendFailed.

        Cancellation: closes the call; chunks that were not acknowledged may or may not be on the log.
        """
        publisher = TokenPublisher(
            self.writer,
            self.clock,
            turn=turn.turn,
            attempt=attempt,
            run=run,
            since_ms=turn.since_ms,
            next_seq=self.from_seq,
            brake=turn.brake,
            on_logged=self.recorder.add,
        )
        self._is_held_back = turn.brake is not None
        request = replace(
            request,
            may_leave=self.may_leave,
            on_wait=partial(self.on_wait, turn),
            held_s=turn.brake.held_s if turn.brake else request.held_s,
        )
        self.requested_at_us = self.clock.now_us()
        self.requested_s = self._last_s = self.clock.monotonic_s()
        async with publisher:
            ending = await self.streamed(turn, request, publisher)
            await publisher.finish()
        return self.result(ending, request, publisher.published_at_us)

    async def streamed(self, turn: OpenTurn, request: ChatRequest, publisher: TokenPublisher) -> Ending:
        try:
            async with asyncio.timeout(None) as self._scope:
                if self.leads:
                    turn.scope = self._scope
                if turn.entry.cancel_requested:
                    return ending_of_stop(turn.entry.stop)
                async with self.provider.stream(request) as batches:
                    await self.publish_all(batches, publisher, request.model)
            return self.finished()
        except LimitMet as met:
            return budget_ending(met.refusal)
        except ProviderError as error:
            self._failure = error
            shown = TurnError(
                code=error.code, message=str(error), temporary=error.temporary, retry_after_s=error.retry_after_s
            )
            return ending_of_failure(shown, chunks=self.from_seq + self.chunks)
        except TimeoutError:
            if turn.entry.cancel_requested:
                return ending_of_stop(turn.entry.stop)
            raise
        finally:
            if turn.scope is self._scope:
                turn.scope = None
            await end_tasks(*self._telling)

    def finished(self) -> Ending:
        """The end of an answer that its provider has ended; one that it cut where we had it cut is not its doing."""
        reason = self._finish_reason
        if self.meter is not None and reason is not None and meaning_of(reason) is FinishMeaning.LENGTH:
            refusal = self.meter.cut_short()
            if refusal is not None:
                return budget_ending(refusal)
        return ending_of_finish(reason)

    def on_wait(self, turn: OpenTurn, waits_for: WaitsFor) -> None:
        """Tell the session what the turn waits for, if that is new. The stream owns the task."""
        if waits_for == self._told or not self.leads:
            return
        self._told = waits_for
        telling = asyncio.create_task(self.tell(turn, waits_for), name=f"wait-{turn.turn}")
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)

    async def tell(self, turn: OpenTurn, waits_for: WaitsFor) -> None:
        waiting = TurnWaiting(turn=turn.turn, waits_for=waits_for, at_us=self.clock.now_us())
        try:
            await self.writer.append([waiting], since_ms=turn.since_ms, certain=False)
        except ClusterUnavailable as error:  # for information only
            log.warning("wait_not_told", turn=turn.turn, reason=str(error))

    def lead(self, turn: OpenTurn) -> None:
        """From now on a cancel of the turn ends this call."""
        self.leads = True
        if self._scope is not None:
            turn.scope = self._scope
            if turn.entry.cancel_requested:
                turn.stop_waiting()

    async def publish_all(
        self, batches: AsyncIterator[list[ProviderChunk]], publisher: TokenPublisher, model: str
    ) -> None:
        async for batch in batches:
            texts = list(self.texts_of(batch))
            if not texts:
                continue
            gaps_us = self.gaps_of(texts)
            if self._last_s >= self._tell_from_s:
                self._tell_from_s = self._last_s + REVIEW_S
                self.on_heard(0 if self._is_held_back else self.chunks + len(texts))
            if self.before_first is not None and not self.chunks:
                await self.before_first()
            self._answer.add(texts)
            await publisher.offer(texts, gaps_us)
            await self.recorder.send_full()
            self.look_at(texts)
            if self.meter is not None:
                self.meter.read(texts, partial(self._answer.tokens, model))

    def look_at(self, texts: Sequence[str]) -> None:
        """Raise ProviderBabbled where the answer is not worth reading on."""
        for text in texts:
            suspicion = self.watchdog.add(text)
            if suspicion is not None:
                raise ProviderBabbled(
                    f"the answer {STRAYED[suspicion.code]} and was stopped after {suspicion.at_chars} characters "
                    f"({suspicion.detail}); ask again, or set watch_{suspicion.code} = false where a model may do so",
                    provider_code=suspicion.code,
                )

    def texts_of(self, batch: Iterable[ProviderChunk]) -> Iterable[str]:
        for item in batch:
            match item:
                case TextChunk(text):
                    self._is_usage_early = self._usage is not None
                    yield from (text[at : at + CHUNK_CHARS_MAX] for at in range(0, len(text), CHUNK_CHARS_MAX))
                case FinishChunk(reason):
                    self._finish_reason = reason
                case UsageChunk(usage) if self._usage is None or is_full(usage):
                    self._usage, self._is_usage_early = usage, False
                case UsageChunk():
                    pass  # a part, after the whole
                case LimitsChunk(seen):
                    self.on_limits(seen)

    def gaps_of(self, texts: Sequence[str]) -> list[int]:
        """The first text of a batch waited since the one before it; the rest came with it."""
        now_s = self.clock.monotonic_s()
        gap_us = max(0, round((now_s - self._last_s) * 1e6))
        if not self._first_chunk_at_us:
            self._first_chunk_at_us = self.clock.now_us()
            self._first_s = now_s
        self._last_s = now_s
        return [gap_us] + [0] * (len(texts) - 1)

    def result(self, ending: Ending, request: ChatRequest, published_at_us: int) -> StreamResult:
        usage = self._usage or Usage(estimated=True)
        if self.chunks and not is_full(usage):
            usage = estimated_usage(request.messages, "", request.model)
            stated = self._usage.stated_cost_nano_usd if self._usage else None
            output_tokens = self._answer.tokens(request.model)
            usage = msgspec.structs.replace(usage, output_tokens=output_tokens, stated_cost_nano_usd=stated)
        elif self._is_usage_early and (counted := self._answer.tokens(request.model)) > usage.output_tokens:
            usage = msgspec.structs.replace(usage, output_tokens=counted, estimated=True)
        return StreamResult(
            ending=ending,
            usage=usage,
            failure=self._failure,
            chunks=self.chunks,
            from_seq=self.from_seq,
            text=self._answer.text,
            requested_at_us=self.requested_at_us,
            first_chunk_at_us=self._first_chunk_at_us,
            published_at_us=published_at_us,
            ended_at_us=self.clock.now_us(),
            ttft_us=round((self._first_s - self.requested_s) * 1e6) if self._first_chunk_at_us else None,
            tpot_us=self.time_per_token_us(usage),
        )

    def time_per_token_us(self, usage: Usage) -> int | None:
        if not self._first_chunk_at_us or usage.output_tokens < 2:
            return None
        return round((self._last_s - self._first_s) * 1e6 / (usage.output_tokens - 1))


def is_full(usage: Usage) -> bool:
    """Whether a count can be that of a call which has said something; only an answer of our own cache used nothing."""
    return (usage.input_tokens > 0 and usage.output_tokens > 0) or usage == Usage()
