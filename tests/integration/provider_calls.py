"""Calls of the OpenAI adapter at the simulated provider, and what is heard of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

import pytest

from infra.simulated_provider.answer_text import answer_for
from infra.simulated_provider.behaviour import Behaviour
from infra.simulated_provider.call_log import Call
from infra.simulated_provider.server import SimulatedProvider
from processors.providers.decisions.stream_watchdog import StreamDeadlines
from processors.providers.openai_provider import OpenAIProvider
from processors.providers.provider import (
    ChatProvider,
    ChatRequest,
    FinishChunk,
    ProviderChunk,
    ProviderError,
    TextChunk,
)
from schemas.prompts import ChatMessage

__all__ = [
    "ABORT_S_MAX",
    "DEADLINES",
    "FAST",
    "Heard",
    "ended",
    "expected",
    "heard_from",
    "patient",
    "provider",
    "request_for",
    "simulated",
    "until",
]

FAST = Behaviour(first_ms=2, pace_ms=1, jitter=0)


DEADLINES = StreamDeadlines(
    connect_s=0.5, leave_s=0.5, first_token_s=0.5, between_tokens_s=0.5, total_s=10, trailer_s=0.5
)


ABORT_S_MAX = 1.0


@dataclass
class Heard:
    """What one stream gave."""

    batches: list[list[ProviderChunk]] = field(default_factory=list)
    failure: ProviderError | None = None

    @property
    def items(self) -> list[ProviderChunk]:
        return [item for batch in self.batches for item in batch]

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(item.text for item in self.items if isinstance(item, TextChunk))

    @property
    def finish(self) -> list[str]:
        return [item.reason for item in self.items if isinstance(item, FinishChunk)]


@pytest.fixture
async def simulated() -> AsyncIterator[SimulatedProvider]:
    async with SimulatedProvider(behaviour=FAST) as server:
        yield server


@pytest.fixture
async def provider(simulated: SimulatedProvider) -> AsyncIterator[OpenAIProvider]:
    adapter = OpenAIProvider(name="simulated", api_key="", base_url=simulated.base_url)
    yield adapter
    await adapter.aclose()


def request_for(
    text: str,
    *,
    max_tokens: int = 4_096,
    earlier: tuple[ChatMessage, ...] = (),
    deadlines: StreamDeadlines = DEADLINES,
) -> ChatRequest:
    messages = (*earlier, ChatMessage("user", text))
    return ChatRequest(model="simulated", messages=messages, max_tokens=max_tokens, deadlines=deadlines)


async def heard_from(provider: ChatProvider, request: ChatRequest) -> Heard:
    heard = Heard()
    try:
        async with provider.stream(request) as batches:
            async for batch in batches:
                assert batch
                heard.batches.append(batch)
    except ProviderError as error:
        heard.failure = error
    return heard


def expected(text: str, tokens: int | None = None) -> tuple[str, ...]:
    return answer_for([ChatMessage("user", text)], tokens=tokens)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until the server's own record shows it; the server runs on this loop, so each look lets it work."""
    async with asyncio.timeout(ABORT_S_MAX):
        while not condition():  # noqa: ASYNC110  # a list of calls, as tests of other processes see it, has no event
            await asyncio.sleep(0.001)


def patient(text: str, told: list[str]) -> ChatRequest:
    """A call that is late after 0.3 s and has time; `told` hears what it waits for."""
    deadlines = StreamDeadlines(connect_s=0.5, late_s=0.3, leave_s=0.3, first_token_s=30)
    return replace(request_for(text, deadlines=deadlines), on_wait=told.append)


async def ended(call: Call) -> None:
    await until(lambda: call.state != "running")
