"""What only the Python client does, against a scripted gateway; what both do is in `test_client_conformance.py`.

Covers: gateway.client.asking, gateway.client.connection, gateway.client.inbox, gateway.client.line,
gateway.client.opening.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from typing import Any

import pytest

import tokenwire
from gateway.client.errors import AnswerFailed, LineClosed
from gateway.client.line import Line
from schemas.client_messages import Hello, Prompt
from schemas.errors import InvalidField
from schemas.gateway_messages import Delta, End, Error, Queued
from schemas.session_events import TurnError
from tests.unit.gateway.client.scripted_gateway import (
    ANSWER,
    WAIT_S,
    ScriptedPeer,
    attached,
    delta,
    end,
    half,
    scripted,
    whole,
)


async def text_of(line: Line, **options: Any) -> str:
    """Ask, and put the answer together."""
    async with asyncio.timeout(WAIT_S):
        return "".join([piece async for piece in line.ask("Hi", session="s", prompt_id="p", **options)])


async def until_it_ends(line: Line) -> None:
    """Read on; it ends by raising."""
    async for _ in line:
        pass


async def test_whole_answer() -> None:
    """Asked and put together."""
    async with scripted(whole) as url, tokenwire.connect(url, token="x") as line:
        assert await text_of(line) == ANSWER


async def test_refused_prompt_and_failed_answer() -> None:
    """`ask` raises with the code and what may be done."""

    async def refuses(peer: ScriptedPeer) -> None:
        await peer.welcome()
        await peer.heard(Prompt)
        await peer.say(
            Error(code="rate_limited", message="too many", prompt_id="p", session="s", temporary=True, retry_after_s=3)
        )
        await peer.heard(Prompt)
        await peer.say(attached(), Queued(session="s", turn="t", prompt_id="p", c="c1"))
        await peer.say(end(attempt=0, reason="error", error=TurnError(code="poison", message="gave up")))
        await peer.socket.wait_closed()

    async with scripted(refuses) as url, tokenwire.connect(url, token="x") as line:
        with pytest.raises(AnswerFailed) as refused:
            await text_of(line)
        with pytest.raises(AnswerFailed) as failed:
            await text_of(line)

    assert (refused.value.code, refused.value.retry_after_s) == ("rate_limited", 3)
    assert failed.value.code == "poison"


async def test_reader_that_stops_holds_no_more_than_its_inbox() -> None:
    """The socket is not read any further: the gateway is who waits, and what was not read is there later."""
    words, size = 4_000, 1_000
    sent = 0

    async def floods(peer: ScriptedPeer) -> None:
        nonlocal sent
        await half(peer)
        for seq in range(2, words):
            await peer.say(delta(seq, "x" * size))
            sent = seq
        await peer.say(end())
        await peer.socket.wait_closed()

    async with scripted(floods) as url, tokenwire.connect(url, token="x", inbox_bytes_max=64_000) as line:
        line.prompt("Hi", session="s", prompt_id="p")
        stuck = math.nan
        while sent != stuck or line.inbox.bytes < 64_000:
            stuck = sent
            await asyncio.sleep(0.2)
        assert line.inbox.bytes <= 64_000 + 2 * size
        assert sent < words - 1
        chars = 0
        async with asyncio.timeout(WAIT_S):
            async for message in line:
                chars += len(message.text) if isinstance(message, Delta) else 0
                if isinstance(message, End):
                    break
    assert chars == len("one two ") + (words - 2) * size


async def test_line_that_is_left_ends_its_iterators() -> None:
    """Nobody waits for ever."""

    async def idle(peer: ScriptedPeer) -> None:
        await peer.welcome()
        await peer.socket.wait_closed()

    async with scripted(idle) as url:
        async with tokenwire.connect(url, token="x") as line:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    while True:
                        await anext(line)
        with pytest.raises(LineClosed):
            await anext(line)


async def test_told_to_stay_away() -> None:
    """Who iterates hears why."""

    async def refuses(peer: ScriptedPeer) -> None:
        await peer.heard(Hello)
        await peer.leave(4401, reconnect=False)

    async with scripted(refuses) as url:
        with pytest.raises(LineClosed) as closed:
            async with asyncio.timeout(WAIT_S), tokenwire.connect(url, token="x") as line:
                await anext(line)
    assert closed.value.code == 4401


HALF = "cut \ud83d"
BAD_PROMPTS: list[tuple[str, dict[str, Any]]] = [
    ("input", {"text": HALF}),
    ("input", {"text": "  "}),
    ("input", {"text": ["Hi"]}),
    ("on_busy", {"on_busy": "bogus"}),
    ("messages", {"text": "", "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]}),
    ("messages", {"text": "", "messages": [{"role": "user", "content": HALF}]}),
    ("foo", {"foo": 1}),
    ("session", {"session": "a b"}),
    ("session", {"session": 5}),
    ("prompt_id", {"prompt_id": HALF}),
    ("temperature", {"temperature": float("nan")}),
    ("metadata", {"metadata": {"a": HALF}}),
    ("max_tokens", {"max_tokens": "9"}),
    ("max_tokens", {"max_tokens": 10**5000}),
    ("messages", {"text": "", "messages": [{"role": HALF, "content": "Hi"}]}),
]


async def test_bad_prompts_are_refused_where_they_are_asked() -> None:
    """Each at once and by its field; nothing of them is sent, and the prompt among them is answered."""
    async with scripted(whole) as url, tokenwire.connect(url, token="x") as line:
        for field, options in BAD_PROMPTS:
            with pytest.raises(InvalidField) as refused:
                line.prompt(**{"text": "Hi", "session": "s"} | options)
            assert refused.value.field == field
        assert await text_of(line) == ANSWER
        assert (line.prompts, line.connections) == ({}, 1)


async def test_longer_than_the_gateway_takes() -> None:
    """Its own limit counts, as `welcome` told it."""

    async def narrow(peer: ScriptedPeer) -> None:
        await peer.welcome(prompt_bytes_max=10)
        await peer.socket.wait_closed()

    async with scripted(narrow) as url, tokenwire.connect(url, token="x") as line:
        with pytest.raises(InvalidField) as refused:
            line.prompt("x" * 11, session="s")
    assert refused.value.code == "prompt_too_large"


@pytest.mark.parametrize(
    ("ask", "field"),
    [
        (lambda line: line.attach("a b"), "session"),
        (lambda line: line.attach("s", from_=HALF), "from_"),
        (lambda line: line.cancel("s", "a b"), "prompt_id"),
        (lambda line: line.cancel(None, "p"), "session"),
        (lambda line: line.refresh(HALF), "token"),
        (lambda line: line.refresh(None), "token"),
    ],
)
async def test_what_else_cannot_be_sent_is_refused_at_once(ask: Callable[[Line], None], field: str) -> None:
    """The line goes on."""
    async with scripted(whole) as url, tokenwire.connect(url, token="x") as line:
        with pytest.raises(InvalidField) as refused:
            ask(line)
        assert refused.value.field == field
        assert await text_of(line) == ANSWER


@pytest.mark.parametrize(
    ("url", "token", "field"),
    [
        ("http://127.0.0.1:1/v1/connect", "x", "url"),
        ("127.0.0.1:8080", "x", "url"),
        ([], "x", "url"),
        ("ws://127.0.0.1:1/v1/connect", None, "token"),
        ("ws://127.0.0.1:1/v1/connect", "", "token"),
    ],
)
async def test_no_address_and_no_token(url: Any, token: Any, field: str) -> None:
    """Told at once, not by a connection that never comes."""
    with pytest.raises(InvalidField) as refused:
        async with tokenwire.connect(url, token=token):
            pass
    assert refused.value.field == field


async def test_writer_that_fails_ends_the_line_with_its_reason() -> None:
    """A line that can only listen would be waited on for ever."""

    async def idle(peer: ScriptedPeer) -> None:
        await peer.welcome()
        await peer.socket.wait_closed()

    async with scripted(idle) as url, tokenwire.connect(url, token="x") as line:
        unspeakable: Any = object()
        line.send(Hello(token=unspeakable))
        with pytest.raises(TypeError):
            async with asyncio.timeout(WAIT_S):
                await until_it_ends(line)
        with pytest.raises(TypeError):
            line.prompt("Hi", session="s")
        assert line.state == "stopped"


@pytest.mark.parametrize("fault", [KeyError("TOKEN"), asyncio.CancelledError()], ids=["raises", "is cancelled"])
async def test_token_function_that_fails_ends_the_line(fault: BaseException) -> None:
    """With its own error, or with one that says what became of it; also in mid-line."""
    tokens = ["x"]

    async def token() -> str:
        if tokens:
            return tokens.pop()
        raise fault

    async def leaves(peer: ScriptedPeer) -> None:
        await peer.welcome()
        await peer.socket.close(1012)

    expected = LineClosed if isinstance(fault, asyncio.CancelledError) else KeyError
    async with scripted(leaves) as url:
        async with tokenwire.connect(url, token=token) as line:
            with pytest.raises(expected):
                async with asyncio.timeout(WAIT_S):
                    await until_it_ends(line)
        with pytest.raises(expected):
            async with tokenwire.connect(url, token=token):
                pass
