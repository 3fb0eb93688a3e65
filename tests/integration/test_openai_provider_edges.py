"""The OpenAI adapter against a server that writes bytes by hand: ends and silences that no provider should show."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from processors.providers.decisions.stream_watchdog import StreamDeadlines
from processors.providers.openai_provider import OpenAIProvider
from processors.providers.provider import (
    FinishChunk,
    ProviderCut,
    ProviderError,
    ProviderGarbled,
    ProviderOverloaded,
    ProviderTimedOut,
    ProviderUnfit,
    ProviderUnreachable,
    TextChunk,
)
from tests.integration.byte_server import (
    BOTH,
    FINISH,
    HEAD,
    JSON_HEAD,
    SHORT_TRAILER,
    TEXT,
    Script,
    heard_from,
    scripted,
    then_silence,
    with_pauses,
    writing,
)


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
