"""One attempt of a turn, how its call went, and what a failed one leaves to the next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from infra.targets.model_catalogue import Target
from processors.ledger.run_meter import RunMeter
from processors.providers.decisions.answer_room import answer_room
from processors.providers.decisions.stream_watchdog import StreamDeadlines
from processors.providers.provider import ChatRequest, ProviderBabbled, ProviderError
from processors.sessions.decisions.continuation import TextSoFar
from processors.sessions.decisions.history_cut import CutHistory
from processors.sessions.decisions.token_count import count_tokens, estimated_usage
from processors.sessions.decisions.turn_ending import Ending
from processors.targets.target_pool import Call
from processors.writing.attempt_recorder import AttemptRecorder
from schemas.prompts import ChatMessage
from schemas.session_events import StartCause, Usage

__all__ = ["Attempt", "FailedCall", "StreamResult"]


@dataclass(slots=True)
class StreamResult:
    """How the call went. Wall clocks in microseconds, 0 = did not happen; durations from the monotonic clock."""

    ending: Ending
    usage: Usage
    failure: ProviderError | None = None
    """How the provider failed, if it did."""
    chunks: int = 0
    """Its own; with `from_seq` before them."""
    from_seq: int = 0
    """Chunks of earlier attempts that it went on from."""
    text: str = ""
    """Its own; empty where it was too long to be kept."""
    requested_at_us: int = 0
    first_chunk_at_us: int = 0
    published_at_us: int = 0
    ended_at_us: int = 0
    ttft_us: int | None = None
    tpot_us: int | None = None

    def stopped(self, ending: Ending) -> StreamResult:
        """The same, ended by a stop that came after the provider had failed."""
        return replace(self, ending=ending)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """An attempt whose `TurnStarted` is on the log and counts."""

    number: int
    run: str
    cause: StartCause
    history: CutHistory
    call: Call
    recorder: AttemptRecorder
    answer_tokens: int
    """The most tokens that it may say."""
    temperature: float | None = None
    """The prompt's own; None: the provider's."""
    from_seq: int = 0
    """Chunks of earlier attempts that it goes on from."""
    before: str = ""
    """Their text."""
    meter: RunMeter | None = None
    """What it may use; None: its user has no limits."""

    @property
    def target(self) -> Target:
        """Whom it asks."""
        return self.call.target

    @property
    def provider(self) -> str:
        """What whoever answers is called."""
        return self.call.provider.name

    @property
    def messages(self) -> tuple[ChatMessage, ...]:
        """What its provider is sent."""
        messages = self.history.messages
        return (*messages, ChatMessage(role="assistant", content=self.before)) if self.from_seq else messages

    @property
    def input_tokens(self) -> int:
        """Of what its provider is sent."""
        return self.history.input_tokens + count_tokens(self.before, self.target.model)

    def request(self, *, usual_s: float | None) -> ChatRequest:
        """What its provider is asked. `usual_s`: the target's usual time to its first token, where it is known."""
        target, input_tokens = self.target, self.input_tokens
        return ChatRequest(
            model=target.model,
            messages=self.messages,
            max_tokens=answer_room(self.answer_tokens, input_tokens=input_tokens, context_tokens=target.context_tokens),
            temperature=self.temperature,
            max_tokens_field=target.max_tokens_field,
            fields=target.prefix_fields if self.from_seq else (),
            deadlines=StreamDeadlines(
                connect_s=target.connect_s,
                leave_s=min(max(target.leave_s, usual_s or 0.0), target.first_token_s),
                first_token_s=target.first_token_s,
                between_tokens_s=target.between_tokens_s,
                total_s=target.total_s,
            ),
            input_tokens=input_tokens,
        )

    @property
    def input_usage(self) -> Usage:
        """What it has cost to ask, by our own count."""
        return estimated_usage(self.messages, "", self.target.model)

    def whole_text(self, result: StreamResult) -> str:
        """The visible text after it; empty where that is too long to be kept."""
        return "" if result.chunks and not result.text else self.before + result.text


@dataclass(frozen=True)
class FailedCall:
    """An attempt that failed, and that another one may follow."""

    attempt: Attempt
    result: StreamResult

    @property
    def run(self) -> str:
        """Which run of the turn it was."""
        return self.attempt.run

    @property
    def usage(self) -> Usage:
        """What it has used."""
        return self.result.usage

    @cached_property
    def said(self) -> TextSoFar:
        """The visible text that it leaves."""
        text = self.attempt.whole_text(self.result)
        return TextSoFar(
            text=text,
            chunks=self.attempt.from_seq + self.result.chunks,
            tokens=count_tokens(text, self.attempt.target.model),
            babbled=isinstance(self.result.failure, ProviderBabbled),
        )
