"""What a turn asks of a model provider, and every way in which the provider can fail it.

A stream that ends without an exception is a whole answer: it had a finish reason. Everything else is one of these,
whatever client library and network are underneath:

ProviderError                 an attempt failed; says whose fault, whether it may pass, and when to come back
├── ProviderUnreachable       no connection, or it broke before the answer began    network or provider   temporary
│   └── ProviderAbsent        nobody listens there                                  provider              temporary
├── ProviderLoading           it is about to load the model                        nobody                temporary
├── ProviderTimedOut          one of our deadlines ran out (`deadline` says which)  provider              temporary
├── ProviderOverloaded        it asked us to slow down: 429                         ours or our tenants'  temporary
├── ProviderFailed            it failed by its own account: 5xx, or in the stream   provider              temporary
├── ProviderDenied            not with this key, model or account: 401 402 403 404  operator              lasting
├── ProviderEmpty             it ended its answer without a word                    prompt, perhaps       lasting
│   └── ProviderWordless      … and said that the answer was whole                  nobody                lasting
├── ProviderUnfit             it does not take a field of the request               nobody                lasting
├── ProviderMisplaced         no such host, or a certificate that is not trusted    operator              lasting
├── ProviderRefused           it will not answer this: other 4xx                    caller                lasting
├── ProviderGarbled           it said something that is no answer                   provider              temporary
├── ProviderBabbled           its answer goes round in circles, or is noise         provider              temporary
└── ProviderCut               the answer broke off without a finish reason          network or provider   temporary

Messages and codes never hold prompt text, keys or the provider's own words beyond a short error code.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol

from infra.targets.model_catalogue import MaxTokensField
from processors.providers.decisions.chat_chunks import FinishChunk, LimitsChunk, ProviderChunk, TextChunk, UsageChunk
from processors.providers.decisions.rate_headers import RateHeaders
from processors.providers.decisions.stream_watchdog import DEFAULT_DEADLINES, Deadline, StreamDeadlines
from schemas.prompts import ChatMessage
from schemas.session_events import WaitsFor

__all__ = [
    "CONTEXT_EXCEEDED",
    "ChatProvider",
    "ChatRequest",
    "FinishChunk",
    "LimitsChunk",
    "ProviderAbsent",
    "ProviderBabbled",
    "ProviderChunk",
    "ProviderCut",
    "ProviderDenied",
    "ProviderEmpty",
    "ProviderError",
    "ProviderFailed",
    "ProviderGarbled",
    "ProviderLoading",
    "ProviderMisplaced",
    "ProviderOverloaded",
    "ProviderRefused",
    "ProviderTimedOut",
    "ProviderUnfit",
    "ProviderUnreachable",
    "ProviderWordless",
    "TextChunk",
    "UsageChunk",
]

CONTEXT_EXCEEDED: Final = "context_length_exceeded"
"""The `provider_code` of a refusal for the prompt's length: a target with a larger context may take it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """A conversation to be continued."""

    model: str
    messages: tuple[ChatMessage, ...]
    max_tokens: int
    temperature: float | None = None
    max_tokens_field: MaxTokensField | None = None
    """What the provider calls `max_tokens`, where that is known."""
    fields: tuple[tuple[str, bool], ...] = ()
    """Fields of the provider's own that the request needs, such as those that make it continue the last message."""
    deadlines: StreamDeadlines = DEFAULT_DEADLINES
    input_tokens: int = 0
    """Of the messages, by our own count; 0 = not counted."""
    may_leave: Callable[[], bool] = lambda: False
    """Asked while the first token is late: whether somebody else takes the call, with whom a place is then reserved."""
    on_wait: Callable[[WaitsFor], None] = lambda _: None
    """Told what a late first token waits for, as often as it is noticed."""
    held_s: Callable[[], float] = lambda: 0.0
    """Seconds for which the caller has let the answer wait on purpose: no deadline counts them."""


class ChatProvider(Protocol):
    """A model provider."""

    @property
    def name(self) -> str:
        """How records and metrics call it."""

    def stream(self, request: ChatRequest) -> AbstractAsyncContextManager[AsyncIterator[list[ProviderChunk]]]:
        """The answer, in batches: everything that one read from the network brought is one list, never empty.

            async with provider.stream(request) as batches:
                async for batch in batches: ...

        Entering sends the request and returns once the provider has begun to answer; both it and the iteration
        raise ProviderError. Everything that arrived before a failure is given first.

        Cancellation: leaving the block, by any way, closes the request; the provider may have been paid by then.
        """

    async def aclose(self) -> None:
        """Close every connection."""


class ProviderError(Exception):
    """An attempt failed. `code` is for programs, the message for people."""

    code = "provider_error"
    temporary = True
    """Whether the same request may succeed later or elsewhere."""

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        provider_code: str = "",
        limits: RateHeaders | None = None,
    ) -> None:
        super().__init__(message)
        self.limits = limits
        """What the answer's headers say is left of the provider's limits."""
        self.retry_after_s = retry_after_s
        """When the provider asked us to come back, if it did."""
        self.provider_code = provider_code
        """The provider's own short error code, where it has one."""
        self.waited_s = 0.0
        """How long the call was kept in vain, where it was kept."""

    waits_for: ClassVar[WaitsFor | None] = None
    """What the same call will go through for later, where it is worth waiting for it without another attempt."""


class ProviderUnreachable(ProviderError):
    """No connection, or it broke before the answer began."""

    code = "provider_unreachable"


class ProviderAbsent(ProviderUnreachable):
    """Nobody listens at the address: the server is not started yet, or has gone."""

    waits_for = "server"


class ProviderLoading(ProviderError):
    """The server is there and loads its model."""

    code = "provider_loading"
    waits_for = "model"


class ProviderTimedOut(ProviderError):
    """One of our deadlines ran out."""

    code = "provider_timed_out"

    def __init__(self, deadline: Deadline, after_s: float) -> None:
        super().__init__(f"the provider missed the deadline {deadline} of {after_s:g} s")
        self.deadline = deadline


class ProviderOverloaded(ProviderError):
    """The provider asked us to slow down."""

    code = "provider_overloaded"


class ProviderFailed(ProviderError):
    """The provider failed by its own account."""

    code = "provider_failed"


class ProviderDenied(ProviderError):
    """The provider does not serve us: a bad key, no money left, an unknown model. The prompt has no part in it."""

    code = "provider_denied"
    temporary = False


class ProviderUnfit(ProviderError):
    """The provider does not take a field of the request, such as a temperature: another one may."""

    code = "provider_unfit"
    temporary = False


class ProviderMisplaced(ProviderError):
    """No connection comes about until a setting changes: there is no such host, or its certificate is not trusted."""

    code = "provider_misplaced"
    temporary = False


class ProviderRefused(ProviderError):
    """The provider will not answer this request: it is malformed, or the prompt is too long."""

    code = "provider_refused"
    temporary = False


class ProviderEmpty(ProviderError):
    """The provider ended its answer without a word, and without an error: some do so with a prompt that is too long."""

    code = "provider_empty"
    temporary = False


class ProviderWordless(ProviderEmpty):
    """The model says that its answer is whole, and there is not a character of it, no tool call and no refusal."""

    code = "empty"


class ProviderGarbled(ProviderError):
    """The provider said something that is no answer."""

    code = "provider_garbled"


class ProviderBabbled(ProviderError):
    """What the provider said is not worth reading on: it repeats itself, or is noise."""

    code = "provider_babbled"


class ProviderCut(ProviderError):
    """The answer broke off without a finish reason."""

    code = "provider_cut"
