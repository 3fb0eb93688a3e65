"""The OpenAI adapter against a server that writes bytes by hand: ends and silences that no provider should show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from processors.decisions.stream_watchdog import StreamDeadlines
from processors.providers.openai_provider import OpenAIProvider
from processors.providers.provider import (
    ChatRequest,
    FinishChunk,
    ProviderChunk,
    ProviderCut,
    ProviderError,
    ProviderGarbled,
    ProviderTimedOut,
    ProviderUnreachable,
    TextChunk,
)
from schemas.prompts import ChatMessage

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
DEADLINES = StreamDeadlines(connect_s=2, first_token_s=0.3, between_tokens_s=0.3, total_s=5, trailer_s=0.3)

Script = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[OpenAIProvider]:
    """A provider whose server reads one request and then does what the script says."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            await script(writer)
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    adapter = OpenAIProvider(name="scripted", api_key="", base_url=f"http://127.0.0.1:{port}/v1")
    try:
        yield adapter
    finally:
        await adapter.aclose()
        server.close()
        await server.wait_closed()


async def heard_from(adapter: OpenAIProvider) -> tuple[list[ProviderChunk], ProviderError | None]:
    request = ChatRequest(
        model="m", messages=(ChatMessage("user", "x"),), max_tokens=10, temperature=0.5, deadlines=DEADLINES
    )
    items: list[ProviderChunk] = []
    try:
        async with adapter.stream(request) as batches:
            async for batch in batches:
                items.extend(batch)
    except ProviderError as error:
        return items, error
    return items, None


def writing(*parts: bytes) -> Script:
    async def script(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()

    return script


def then_silence(*parts: bytes) -> Script:
    async def script(writer: asyncio.StreamWriter) -> None:
        await writing(*parts)(writer)
        await asyncio.wait_for(writer.wait_closed(), DEADLINES.total_s)

    return script


async def keeping_alive(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD)
    while not writer.is_closing():
        writer.write(b": still here\n\n")
        await asyncio.sleep(0.02)


async def breaking_off(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD.replace(b"Connection: close", b"Content-Length: 100000") + TEXT + FINISH)
    await writer.drain()


@pytest.mark.parametrize(
    "script",
    [
        writing(HEAD, TEXT, FINISH),
        writing(HEAD, TEXT, FINISH, b"data: [DONE]"),
        writing(HEAD, TEXT, FINISH, FINISH, b"data: [DONE]\n\nwhat comes after the end is nobody's business\n"),
        then_silence(HEAD, TEXT, FINISH),
        then_silence(HEAD, TEXT, FINISH, b"data: [DONE]\n\n"),
        breaking_off,
    ],
    ids=["end of the body", "no last line end", "junk after the end", "silence", "kept open", "broken body"],
)
async def test_whole_answer_with_an_odd_end(script: Script) -> None:
    """Once the finish reason is there the answer is whole, however the rest of the connection behaves."""
    async with scripted(script) as adapter:
        items, failure = await heard_from(adapter)

    assert failure is None
    assert items == [TextChunk("hi"), FinishChunk("stop")]


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        (writing(HEAD, TEXT), ProviderCut),
        (writing(HEAD, TEXT, b"data: [DONE]\n\n"), ProviderCut),
        (writing(HEAD, TEXT, b'data: {"choices":[{"ind'), ProviderCut),
        (writing(HEAD, TEXT, b"dat"), ProviderCut),
        (writing(HEAD), ProviderCut),
        (writing(HEAD, TEXT, b"data: <broken>\n\n", FINISH), ProviderGarbled),
        (writing(HEAD, TEXT, FINISH, b"data: {broken\n\n"), ProviderGarbled),
        (writing(HEAD.replace(b"text/event-stream", b"application/json"), b'{"choices": []}'), ProviderGarbled),
        (writing(HEAD.replace(b"text/event-stream", b"text/html; charset=utf-8"), b"<html>"), ProviderGarbled),
        (writing(b"HTTP/1.1 200 OK\r\n"), ProviderUnreachable),
        (writing(b"this is not HTTP\r\n\r\n"), ProviderUnreachable),
        (writing(b""), ProviderUnreachable),
    ],
)
async def test_answer_that_is_none(script: Script, kind: type[ProviderError]) -> None:
    """Every other end is a failure of its own kind."""
    async with scripted(script) as adapter:
        _, failure = await heard_from(adapter)

    assert type(failure) is kind


async def test_comments_are_no_sign_of_life() -> None:
    """A provider that only keeps the connection alive misses the deadline of the first token."""
    async with scripted(keeping_alive) as adapter:
        items, failure = await heard_from(adapter)

    assert isinstance(failure, ProviderTimedOut)
    assert failure.deadline == "first_token"
    assert items == []


async def test_silence_in_the_middle_of_a_line() -> None:
    """Half an event is no sign of life either."""
    async with scripted(then_silence(HEAD, TEXT, b'data: {"choices":[{"ind')) as adapter:
        items, failure = await heard_from(adapter)

    assert isinstance(failure, ProviderTimedOut)
    assert failure.deadline == "between_tokens"
    assert items == [TextChunk("hi")]
