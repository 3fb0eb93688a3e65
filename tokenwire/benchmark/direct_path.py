"""Straight to the model: a chat completion over HTTP, its event stream read as it comes.

A reader of its own, so that neither the openai client nor our provider adapter is part of the yardstick.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import aiohttp
import msgspec

from tokenwire.benchmark.method import DIRECT, Method
from tokenwire.benchmark.observed_answer import ObservedAnswer

__all__ = ["DirectClient", "DirectPath"]

ANSWER_S_MAX: Final = 60.0
EVENT_END: Final = b"\n\n"
FIELD: Final = b"data: "
DONE: Final = b"[DONE]"


class ChunkDelta(msgspec.Struct):
    content: str | None = None


class ChunkChoice(msgspec.Struct):
    delta: ChunkDelta
    finish_reason: str | None = None


class Chunk(msgspec.Struct):
    choices: list[ChunkChoice] = []


CHUNK: Final = msgspec.json.Decoder(Chunk)


class DirectPath:
    """Keeps its connections between answers, as any client would."""

    name = DIRECT

    def __init__(self, session: aiohttp.ClientSession, url: str, model: str, method: Method) -> None:
        self.session = session
        self.url = f"{url}/chat/completions"
        self.model = model
        self.method = method

    @asynccontextmanager
    async def client(self, label: str) -> AsyncIterator[DirectClient]:
        """See `StreamPath.client`."""
        yield DirectClient(self)

    @staticmethod
    @asynccontextmanager
    async def opened(url: str, model: str, method: Method) -> AsyncIterator[DirectPath]:
        """The path, with its connections, which end with it."""
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=ANSWER_S_MAX)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            yield DirectPath(session, url, model, method)


class DirectClient:
    """Sends the whole conversation each time: HTTP has no memory."""

    def __init__(self, path: DirectPath) -> None:
        self.path = path
        self._exchanges: list[tuple[str, str]] = []

    async def ask(self, prompt: str) -> ObservedAnswer:
        """See `BenchClient.ask`."""
        messages = self.path.method.conversation(self._exchanges, prompt)
        body = msgspec.json.encode({"model": self.path.model, "messages": messages, "stream": True})
        answer = ObservedAnswer()
        try:
            await self.read(body, answer)
        except (TimeoutError, aiohttp.ClientError, msgspec.DecodeError) as error:
            answer.fault = f"{type(error).__name__}: {error}"
        self._exchanges.append((prompt, answer.text))
        return answer

    async def read(self, body: bytes, answer: ObservedAnswer) -> None:
        headers = {"Content-Type": "application/json"}
        async with self.path.session.post(self.path.url, data=body, headers=headers) as response:
            response.raise_for_status()
            answer.fault = "the stream ended before the answer"
            unread = b""
            async for received in response.content.iter_any():
                now_s = time.perf_counter()
                *events, unread = (unread + received).split(EVENT_END)
                for event in events:
                    take_event(event, answer, now_s)


def take_event(event: bytes, answer: ObservedAnswer, now_s: float) -> None:
    if not event.startswith(FIELD):
        return
    if event[len(FIELD) :] == DONE:
        answer.fault = ""
        return
    for choice in CHUNK.decode(event[len(FIELD) :]).choices:
        if choice.delta.content:
            answer.arrived(choice.delta.content, 1, now_s)
