"""A server that writes bytes by hand, and the OpenAI adapter that reads them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from processors.providers.decisions.stream_watchdog import StreamDeadlines
from processors.providers.openai_provider import OpenAIProvider
from processors.providers.provider import (
    ChatRequest,
    ProviderChunk,
    ProviderError,
)
from schemas.prompts import ChatMessage

__all__ = [
    "BOTH",
    "DEADLINES",
    "FINISH",
    "HEAD",
    "JSON_HEAD",
    "PATIENT",
    "SHORT_TRAILER",
    "TEXT",
    "Script",
    "heard_from",
    "responding",
    "scripted",
    "then_silence",
    "with_pauses",
    "writing",
]

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


TEXT = b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'


BOTH = b'data: {"choices":[{"index":0,"delta":{"content":" you"},"finish_reason":"stop"}]}\n\n'


FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'


JSON_HEAD = HEAD.replace(b"text/event-stream", b"application/json")


DEADLINES = StreamDeadlines(connect_s=2, first_token_s=0.3, between_tokens_s=0.3, total_s=5, trailer_s=0.3)


PATIENT = StreamDeadlines(connect_s=10, first_token_s=30, between_tokens_s=30, total_s=60)


SHORT_TRAILER = StreamDeadlines(connect_s=2, first_token_s=2, between_tokens_s=2, total_s=9, trailer_s=0.1)


Script = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def scripted(
    script: Script,
    requests: list[bytes] | None = None,
    heads: list[bytes] | None = None,
    *,
    stood_still_s: Callable[[], float] = lambda: 0.0,
) -> AsyncIterator[OpenAIProvider]:
    """A provider whose server reads one request and then does what the script says; what it reads goes to the lists."""
    requests, heads = [] if requests is None else requests, [] if heads is None else heads

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        heads.append(head)
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        requests.append(await reader.readexactly(length))
        try:
            await script(writer)
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}/v1"
    adapter = OpenAIProvider(name="scripted", api_key="", base_url=url, stood_still_s=stood_still_s)
    try:
        yield adapter
    finally:
        await adapter.aclose()
        server.close()
        await server.wait_closed()


async def heard_from(
    adapter: OpenAIProvider, deadlines: StreamDeadlines = DEADLINES
) -> tuple[list[ProviderChunk], ProviderError | None]:
    request = ChatRequest(
        model="m", messages=(ChatMessage("user", "x"),), max_tokens=10, temperature=0.5, deadlines=deadlines
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


def with_pauses(pause_s: float, *parts: bytes) -> Script:
    async def script(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            await writing(part)(writer)
            await asyncio.sleep(pause_s)

    return script


def responding(status: str, body: bytes, *headers: str) -> Script:
    head = "\r\n".join((f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "Connection: close", "", ""))
    return writing(head.encode(), body)
