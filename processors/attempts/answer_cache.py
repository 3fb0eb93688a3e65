"""Answers that are given again without a call: in this worker's memory, bounded in bytes, oldest use first to go.

`decisions/answer_cache_key.py` says what may be kept and who gets it. A hit looks like a call to a provider named
`cache` that says the whole answer at once: it is an attempt like any other on the session's log and on record, with no
place at a target, no tokens and no cost. What is kept is the text of whole answers; it is cut into chunks anew.

Each worker has its own: a user's prompts meet the same worker, a tenant's users may meet several. What a restart
forgets is asked for again.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

from infra.clock import Clock
from infra.targets.model_catalogue import ServedModel
from infra.telemetry.metric_names import WORKER_ANSWER_CACHE
from infra.telemetry.metrics import Metrics
from processors.attempts.decisions.answer_cache_key import answer_key, is_fresh, may_be_cached
from processors.providers.provider import ChatRequest, FinishChunk, ProviderChunk, TextChunk, UsageChunk
from processors.targets.model_queues import Call
from schemas.prompts import ChatMessage, PromptSubmitted
from schemas.session_events import Usage

__all__ = ["ANSWER_BYTES_MAX", "CACHE_BYTES_MAX", "CACHE_PROVIDER", "AnswerCache", "CachedAnswer", "is_cached"]

CACHE_PROVIDER: Final = "cache"
CACHE_BYTES_MAX: Final = 33_554_432
ANSWER_BYTES_MAX: Final = 262_144
"""A longer answer is not kept."""
ENTRY_BYTES: Final = 400  # key, list links and clock of an answer
CHUNK_CHARS: Final = 64
BATCH_CHUNKS: Final = 64


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """A whole answer. Implements ChatProvider: says itself, whatever is asked."""

    model: str
    """The model that said it, as its provider calls it."""
    text: str
    kept_s: float
    """When, on the monotonic clock."""

    @property
    def name(self) -> str:
        """How records call whoever answers."""
        return CACHE_PROVIDER

    @property
    def size_bytes(self) -> int:
        """What it takes in memory."""
        return sys.getsizeof(self.text) + ENTRY_BYTES

    @asynccontextmanager
    async def stream(self, _: ChatRequest) -> AsyncIterator[AsyncIterator[list[ProviderChunk]]]:
        """The answer, at once."""
        yield self.batches()

    async def batches(self) -> AsyncIterator[list[ProviderChunk]]:
        chunks: list[ProviderChunk] = [
            TextChunk(self.text[at : at + CHUNK_CHARS]) for at in range(0, len(self.text), CHUNK_CHARS)
        ]
        for at in range(0, len(chunks), BATCH_CHUNKS):
            yield chunks[at : at + BATCH_CHUNKS]
        yield [UsageChunk(Usage()), FinishChunk("stop")]

    async def aclose(self) -> None:
        """Nothing to close."""


class AnswerCache:
    """The answers that one worker remembers."""

    def __init__(self, *, bytes_max: int, clock: Clock, metrics: Metrics) -> None:
        self._bytes_max = bytes_max
        self._clock = clock
        self._counted = metrics.counter(WORKER_ANSWER_CACHE)
        self.kept: OrderedDict[bytes, CachedAnswer] = OrderedDict()
        self.size_bytes = 0

    def call_for(
        self, prompt: PromptSubmitted, served: ServedModel, messages: tuple[ChatMessage, ...], max_tokens: int
    ) -> Call | None:
        """A call that gives the remembered answer; None: it has to be asked for."""
        if served.cache_s is None or not self.takes(prompt, served):
            return None
        key = key_of(prompt, served, messages, max_tokens)
        answer = self.kept.get(key)
        if answer is None:
            return None
        if not is_fresh(answer.kept_s, cache_s=served.cache_s, now_s=self._clock.monotonic_s()):
            self.forget(key)
            return None
        self.kept.move_to_end(key)
        return call_to(answer, served)

    def keep(
        self,
        prompt: PromptSubmitted,
        served: ServedModel,
        messages: tuple[ChatMessage, ...],
        max_tokens: int,
        *,
        model: str,
        text: str,
    ) -> None:
        """Remember a whole answer, if it may be: `messages` are what was sent for it, `model` who said it."""
        answer = CachedAnswer(model, text, self._clock.monotonic_s())
        if not text or not self.takes(prompt, served) or answer.size_bytes > min(ANSWER_BYTES_MAX, self._bytes_max):
            return
        key = key_of(prompt, served, messages, max_tokens)
        self.forget(key)
        self.kept[key] = answer
        self.size_bytes += answer.size_bytes
        while self.size_bytes > self._bytes_max:
            self.forget(next(iter(self.kept)))

    def count(self, prompt: PromptSubmitted, call: Call) -> None:
        """Count a call that is about to be made, if it could have been spared, or was."""
        if is_cached(call):
            self._counted.labels(outcome="hit").inc()
        elif self.takes(prompt, call.served):
            self._counted.labels(outcome="miss").inc()

    def takes(self, prompt: PromptSubmitted, served: ServedModel) -> bool:
        return may_be_cached(prompt, cache_s=served.cache_s, tenants=served.cache_tenants)

    def forget(self, key: bytes) -> None:
        answer = self.kept.pop(key, None)
        if answer is not None:
            self.size_bytes -= answer.size_bytes


def is_cached(call: Call) -> bool:
    """Whether the call's answer is a remembered one."""
    return isinstance(call.provider, CachedAnswer)


def key_of(prompt: PromptSubmitted, served: ServedModel, messages: tuple[ChatMessage, ...], max_tokens: int) -> bytes:
    who = (served.name, served.weights, served.substitute)
    return answer_key(prompt, served=who, messages=messages, max_tokens=max_tokens)


def call_to(answer: CachedAnswer, served: ServedModel) -> Call:
    """A call that has no place at any target: no limit and no breaker hears of it."""
    widest = max(served.targets, key=lambda target: target.context_tokens)
    target = replace(
        widest,
        name=f"{CACHE_PROVIDER}:{answer.model}",
        provider=CACHE_PROVIDER,
        model=answer.model,
        abilities=frozenset(),  # it goes on from nobody's text
    )
    return Call(answer, target, served, reason="cached")
