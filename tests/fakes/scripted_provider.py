"""A model provider that answers from a script: chunks at given times, and every way to fail on request.

The answer follows from the conversation's last question alone, so that any test knows what any attempt must say. A
conversation that ends with the beginning of that answer is gone on with from there.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from processors.providers.decisions.stream_watchdog import Healthy, Late, Stalled, StreamProgress, watch
from processors.providers.provider import ChatRequest, FinishChunk, ProviderChunk, ProviderTimedOut, TextChunk

__all__ = ["Script", "ScriptedProvider", "answer_chunks", "question_of"]


@dataclass(frozen=True, slots=True)
class Script:
    """How one call goes."""

    first_s: float = 0.02
    pace_s: float = 0.01
    finish_reason: str | None = "stop"
    fails_at: int = -1
    """Before this chunk of the call `failure` is raised; -1: never."""
    failure: Exception | None = None
    fails_s: float = 0.0
    """How long it is silent before it fails."""
    closing_s: float = 0.0
    """How long the connection of a call that is left takes to close."""


def answer_chunks(question: str) -> list[str]:
    """The chunks of the answer to a question: between 1 and 12."""
    digest = hashlib.sha256(question.encode()).hexdigest()
    return [f"{digest[number : number + 4]}-{number} " for number in range(1 + int(digest[0], 16) % 12)]


def question_of(request: ChatRequest) -> str:
    """What the conversation asks for last."""
    return next(message.content for message in reversed(request.messages) if message.role == "user")


def chunks_left(request: ChatRequest) -> list[str]:
    """What is still to be said."""
    chunks = answer_chunks(question_of(request))
    said = request.messages[-1].content if request.messages[-1].role == "assistant" else ""
    for number in range(len(chunks) + 1):
        if "".join(chunks[:number]) == said:
            return chunks[number:]
    return chunks


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
        self.words: list[str] | None = None
        """What it says whatever it is asked; None: what follows from the question."""
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
        for number, chunk in enumerate(chunks_left(request) if self.words is None else self.words):
            if number == script.fails_at and script.failure is not None:
                await asyncio.sleep(script.fails_s)
                raise script.failure
            await (asyncio.sleep(script.pace_s) if number else self.begun(request, script))
            yield [TextChunk(chunk)]
        if script.finish_reason is not None:
            yield [FinishChunk(script.finish_reason)]

    async def begun(self, request: ChatRequest, script: Script) -> None:
        """The silence before the first chunk, in which a call may be left for another target or be given up."""
        loop = asyncio.get_running_loop()
        progress = StreamProgress(loop.time())
        until_s = progress.requested_s + script.first_s
        while (now_s := loop.time()) < until_s:
            match watch(progress, request.deadlines, now_s):
                case Healthy(look_at_s):
                    await asyncio.sleep(min(look_at_s, until_s) - now_s)
                case Late(may_leave):
                    progress.looked_s = now_s
                    if may_leave and request.may_leave():
                        await asyncio.sleep(script.closing_s)
                        raise ProviderTimedOut("first_token", request.deadlines.leave_s)
                    request.on_wait("answer")
                case Stalled(deadline):
                    failure = ProviderTimedOut(deadline, request.deadlines.first_token_s)
                    failure.waited_s = now_s - progress.requested_s
                    raise failure

    async def aclose(self) -> None:
        """Nothing to close."""
