"""A model provider that answers from a script: chunks at given times, and every way to fail on request.

The answer follows from the conversation's last message alone, so that any test knows what any attempt must say.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from processors.providers.provider import ChatRequest, FinishChunk, ProviderChunk, TextChunk

__all__ = ["Script", "ScriptedProvider", "answer_chunks"]


@dataclass(frozen=True, slots=True)
class Script:
    """How one call goes."""

    first_s: float = 0.02
    pace_s: float = 0.01
    finish_reason: str | None = "stop"
    fails_at: int = -1
    """Before this chunk `failure` is raised; -1: never."""
    failure: Exception | None = None


def answer_chunks(question: str) -> list[str]:
    """The chunks of the answer to a question: between 1 and 12."""
    digest = hashlib.sha256(question.encode()).hexdigest()
    return [f"{digest[number : number + 4]}-{number} " for number in range(1 + int(digest[0], 16) % 12)]


class ScriptedProvider:
    """Implements ChatProvider. `script_of` chooses how a call goes; `on_call` is told of each as it is made."""

    def __init__(
        self,
        script_of: Callable[[ChatRequest], Script] = lambda _: Script(),
        on_call: Callable[[ChatRequest], None] = lambda _: None,
    ) -> None:
        self.script_of = script_of
        self.on_call = on_call
        self.calls: list[ChatRequest] = []
        self.open_calls = 0

    @property
    def name(self) -> str:
        """How records call it."""
        return "scripted"

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[list[ProviderChunk]]]:
        """The answer, a chunk at a time."""
        self.calls.append(request)
        self.on_call(request)
        self.open_calls += 1
        try:
            yield self.batches(request, self.script_of(request))
        finally:
            self.open_calls -= 1

    async def batches(self, request: ChatRequest, script: Script) -> AsyncIterator[list[ProviderChunk]]:
        for number, chunk in enumerate(answer_chunks(request.messages[-1].content)):
            if number == script.fails_at and script.failure is not None:
                raise script.failure
            await asyncio.sleep(script.pace_s if number else script.first_s)
            yield [TextChunk(chunk)]
        if script.finish_reason is not None:
            yield [FinishChunk(script.finish_reason)]

    async def aclose(self) -> None:
        """Nothing to close."""
