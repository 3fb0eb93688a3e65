"""What only the Python client does, against a scripted gateway; what both do is in `test_client_conformance.py`."""

from __future__ import annotations

import asyncio
import contextlib
import math
from typing import Any

import pytest

import tokenwire
from gateway.client.errors import AnswerFailed, LineClosed
from gateway.client.line import Line
from schemas.client_messages import Delta, End, Error, Hello, Prompt, Queued
from schemas.session_events import TurnError
from tests.unit.gateway.scripted_gateway import (
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
