"""The OpenAI adapter against a server that writes bytes by hand: ends and silences that no provider should show."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import tracemalloc
import zlib
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
    ProviderFailed,
    ProviderGarbled,
    ProviderMisplaced,
    ProviderOverloaded,
    ProviderTimedOut,
    ProviderUnfit,
    ProviderUnreachable,
    TextChunk,
)
from schemas.prompts import ChatMessage

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
    script: Script, requests: list[bytes] | None = None, heads: list[bytes] | None = None
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
    adapter = OpenAIProvider(name="scripted", api_key="", base_url=f"http://127.0.0.1:{port}/v1")
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
        (then_silence(HEAD.replace(b"text/event-stream", b"text/html; charset=utf-8"), b"<html>"), ProviderGarbled),
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


@pytest.mark.parametrize(
    "parts",
    [
        (BOTH, BOTH, BOTH, b"data: [DONE]\n\n"),
        (BOTH, TEXT, FINISH, b"data: [DONE]\n\n"),
        (TEXT, FINISH + TEXT, BOTH),
        (BOTH.replace(b"content", b"reasoning"), BOTH, BOTH),
    ],
)
async def test_text_long_after_a_finish_reason(parts: tuple[bytes, ...]) -> None:
    """Where a reason came with text, or text after one, the rest is waited for as long as any token."""
    texts = b"".join(parts).count(b'"content"')
    async with scripted(with_pauses(0.3, HEAD, *parts)) as adapter:
        items, failure = await heard_from(adapter, SHORT_TRAILER)

    assert failure is None
    assert len([item for item in items if isinstance(item, TextChunk)]) == texts
    assert items[-1] == FinishChunk("stop") or isinstance(items[-1], TextChunk)


async def test_text_after_the_finish_reason_and_then_silence() -> None:
    """Nobody can tell whether more would have come: the answer is not whole."""
    async with scripted(then_silence(HEAD, FINISH, TEXT)) as adapter:
        items, failure = await heard_from(adapter)

    assert items == [FinishChunk("stop"), TextChunk("hi")]
    assert isinstance(failure, ProviderTimedOut)


async def test_character_in_two_chunks() -> None:
    """The halves are joined; one that stays alone is replaced at the end."""
    halves = [TEXT.replace(b"hi", half) for half in (b"\\ud83d", b"\\ude00", b"!\\ud83d")]
    async with scripted(writing(HEAD, *halves, FINISH, b"data: [DONE]\n\n")) as adapter:
        items, failure = await heard_from(adapter)

    assert failure is None
    assert "".join(item.text for item in items if isinstance(item, TextChunk)) == "\U0001f600!\ufffd"


async def test_error_beside_text() -> None:
    """The text comes first, then the failure with its code and the time to come back."""
    error = b'data: {"choices":[{"delta":{"content":"lo"}}],"error":{"code":429,"status":"BUSY","retry_after":7}}\n\n'
    async with scripted(writing(HEAD, TEXT, error)) as adapter:
        items, failure = await heard_from(adapter)

    assert items == [TextChunk("hi"), TextChunk("lo")]
    assert isinstance(failure, ProviderOverloaded)
    assert (failure.provider_code, failure.retry_after_s) == ("BUSY", 7)


@pytest.mark.parametrize("head", [HEAD, JSON_HEAD])
async def test_error_as_the_whole_body(head: bytes) -> None:
    """A body that is JSON is read as such, whatever its type is said to be."""
    async with scripted(writing(head, b'{"error": {"code": 429,\n\n "message": "x"}}\n')) as adapter:
        items, failure = await heard_from(adapter)

    assert items == []
    assert isinstance(failure, ProviderOverloaded)


async def test_answer_that_is_not_streamed() -> None:
    """It is an answer all the same."""
    body = b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}'
    async with scripted(writing(JSON_HEAD, body)) as adapter:
        items, failure = await heard_from(adapter)

    assert failure is None
    assert items == [TextChunk("hi"), FinishChunk("stop")]


async def test_comments_are_no_sign_of_life() -> None:
    """A provider that only keeps the connection alive misses the deadline of the first token."""
    async with scripted(keeping_alive) as adapter:
        items, failure = await heard_from(adapter)

    assert isinstance(failure, ProviderTimedOut)
    assert failure.deadline == "first_token"
    assert items == []


async def test_answer_that_is_called_a_page() -> None:
    """It is read all the same, and words of farewell after its end are nothing."""
    page = HEAD.replace(b"text/event-stream", b"text/html")
    for farewell in (b"data: bye\n\n", b"bye bye\n"):
        async with scripted(writing(page, TEXT, FINISH, farewell)) as adapter:
            assert await heard_from(adapter) == ([TextChunk("hi"), FinishChunk("stop")], None)


async def test_silence_in_the_middle_of_a_line() -> None:
    """Half an event is no sign of life either."""
    async with scripted(then_silence(HEAD, TEXT, b'data: {"choices":[{"ind')) as adapter:
        items, failure = await heard_from(adapter)

    assert isinstance(failure, ProviderTimedOut)
    assert failure.deadline == "between_tokens"
    assert items == [TextChunk("hi")]


def refusing(field: bytes, body: bytes, requests: list[bytes]) -> Script:
    """A server that takes no request with this field."""

    async def script(writer: asyncio.StreamWriter) -> None:
        if field not in requests[-1]:
            await writing(HEAD, TEXT, FINISH)(writer)
            return
        head = f"HTTP/1.1 400 Bad Request\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        await writing(head.encode(), body)(writer)

    return script


UNSUPPORTED = (
    b'{"error":{"message":"Unsupported parameter: \'max_tokens\' is not supported with this model. Use '
    b'\'max_completion_tokens\' instead.","type":"invalid_request_error","param":"max_tokens",'
    b'"code":"unsupported_parameter"}}'
)


async def test_field_that_goes_by_another_name() -> None:
    """The request is made again with the other name, and that name is used from then on."""
    requests: list[bytes] = []
    async with scripted(refusing(b'"max_tokens"', UNSUPPORTED, requests), requests) as adapter:
        heard = [await heard_from(adapter), await heard_from(adapter)]

    assert heard == [([TextChunk("hi"), FinishChunk("stop")], None)] * 2
    assert [b'"max_completion_tokens":10' in request for request in requests] == [False, True, True]


async def test_field_that_is_not_needed() -> None:
    """The request is made again without it, and is so from then on."""
    requests: list[bytes] = []
    unknown = b'{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"],"msg":"Not permitted"}]}'
    async with scripted(refusing(b'"stream_options"', unknown, requests), requests) as adapter:
        heard = [await heard_from(adapter), await heard_from(adapter)]

    assert heard == [([TextChunk("hi"), FinishChunk("stop")], None)] * 2
    assert [b'"stream_options"' in request for request in requests] == [True, False, False]


async def test_field_that_goes_by_no_name() -> None:
    """It is asked twice and no more; another target may know the field."""
    requests: list[bytes] = []
    async with scripted(refusing(b"tokens", UNSUPPORTED, requests), requests) as adapter:
        _, failure = await heard_from(adapter)

    assert isinstance(failure, ProviderUnfit)
    assert len(requests) == 2


def responding(status: str, body: bytes, *headers: str) -> Script:
    head = "\r\n".join((f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "Connection: close", "", ""))
    return writing(head.encode(), body)


@pytest.mark.parametrize("encodings", ["gzip", "gzip, gzip", "deflate"])
async def test_error_body_that_unpacks_to_gigabytes(encodings: str) -> None:
    """It is read to a bound, compressed or not, and its status is told."""
    bomb = b"".join(gzip.compress(b" " * 100_000_000) for _ in range(2))
    if "," in encodings:
        bomb = gzip.compress(bomb)
    tracemalloc.start()
    try:
        async with scripted(responding("503 Busy", bomb, f"Content-Encoding: {encodings}")) as adapter:
            _, failure = await heard_from(adapter, PATIENT)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert isinstance(failure, ProviderFailed)
    assert peak_bytes < 16_000_000


@pytest.mark.parametrize("line", [b"X-Many: x\r\n", b"X-Long: " + b"x" * 65_536])
async def test_endless_headers(line: bytes) -> None:
    """They are beyond the bounds of the HTTP client."""

    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        with contextlib.suppress(OSError):
            while not writer.is_closing():
                writer.write(line)
                await writer.drain()

    async with scripted(endless) as adapter:
        _, failure = await heard_from(adapter, PATIENT)

    assert isinstance(failure, ProviderUnreachable)


async def test_endless_error_body() -> None:
    """Its beginning is enough."""

    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 Oops\r\nConnection: close\r\n\r\n")
        with contextlib.suppress(OSError):
            while not writer.is_closing():
                writer.write(b"x" * 65_536)
                await writer.drain()

    async with scripted(endless) as adapter:
        _, failure = await heard_from(adapter)

    assert isinstance(failure, ProviderFailed)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(TEXT + FINISH)),
        ("GZIP", gzip.compress(TEXT) + gzip.compress(FINISH) + b"\0" * 8),
        ("deflate", zlib.compress(TEXT + FINISH)),
        ("deflate", zlib.compress(TEXT + FINISH, wbits=-15)),
        ("identity", TEXT + FINISH),
        ("gzip", TEXT + FINISH),
    ],
)
async def test_answer_that_is_compressed_all_the_same(encoding: str, body: bytes) -> None:
    """It is read, in one piece or several, with the header of its kind or without; also where it is not compressed."""
    script = responding("200 OK", body, "Content-Type: text/event-stream", f"Content-Encoding: {encoding}")
    async with scripted(script) as adapter:
        assert await heard_from(adapter) == ([TextChunk("hi"), FinishChunk("stop")], None)


async def test_answer_that_is_compressed_to_nothing() -> None:
    """One line without end is beyond the limit, however small it was made."""
    body = gzip.compress(b"data: " + b"x" * 50_000_000)
    async with scripted(responding("200 OK", body, "Content-Encoding: gzip")) as adapter:
        items, failure = await heard_from(adapter, PATIENT)

    assert items == []
    assert isinstance(failure, ProviderGarbled)


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("https://u:p@new.example:8443/v1/chat/completions?key=secret", "to https://new.example:8443/v1: set base_url"),
        ("/elsewhere", "leads elsewhere"),
        ("", "leads elsewhere"),
    ],
)
async def test_redirect(location: str, said: str) -> None:
    """It is not followed; the sentence says what to set, without what may be a secret."""
    requests: list[bytes] = []
    script = responding("307 Moved", b"", f"Location: {location}")
    async with scripted(script, requests) as adapter:
        _, failure = await heard_from(adapter)

    assert isinstance(failure, ProviderMisplaced)
    assert said in str(failure)
    assert "secret" not in str(failure)
    assert len(requests) == 1


@asynccontextmanager
async def unanswered_port() -> AsyncIterator[int]:
    """A port whose connections are never finished: its queue is full, as behind a firewall that drops packets."""
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        loop = asyncio.get_running_loop()
        while True:
            filler = sockets.enter_context(socket.socket())
            filler.setblocking(False)
            try:
                async with asyncio.timeout(0.2):
                    await loop.sock_connect(filler, listener.getsockname())
            except TimeoutError:
                break
        yield listener.getsockname()[1]


async def test_connection_that_never_comes() -> None:
    """It ends with the deadline of the connection, long before that of the first token, as a failure of the target."""
    deadlines = StreamDeadlines(connect_s=0.3, leave_s=30, first_token_s=30)
    async with unanswered_port() as port:
        adapter = OpenAIProvider(name="hole", api_key="", base_url=f"http://127.0.0.1:{port}/v1")
        async with asyncio.timeout(10):
            items, failure = await heard_from(adapter, deadlines)
        await adapter.aclose()

    assert items == []
    assert isinstance(failure, ProviderTimedOut)
    assert failure.deadline == "connect"
    assert "0.3 s" in str(failure)


async def test_no_cookie_is_kept() -> None:
    """Neither of an answer nor of a refusal: a call tells nothing of those before it."""
    refusal = b"HTTP/1.1 429 No\r\nSet-Cookie: r=1; Path=/\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    answers = iter((HEAD.replace(b"Connection", b"Set-Cookie: a=1; Path=/\r\nConnection") + BOTH, refusal, HEAD + BOTH))

    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(next(answers))
        await writer.drain()

    heads: list[bytes] = []
    async with scripted(script, heads=heads) as adapter:
        errors = [(await heard_from(adapter, PATIENT))[1] for _ in range(3)]

    assert [type(error) for error in errors] == [type(None), ProviderOverloaded, type(None)]
    assert not any(b"cookie" in head.lower() for head in heads)
