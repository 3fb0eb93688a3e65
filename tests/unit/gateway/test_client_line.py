"""The Python client against a server that follows a script of faults, over real websockets."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

import tokenwire
from gateway.client.errors import AnswerFailed, LineClosed
from gateway.client.line import Hole, Line
from schemas.client_messages import (
    SUBPROTOCOL,
    Accepted,
    Attach,
    Attached,
    Delta,
    Disconnect,
    Drain,
    End,
    Error,
    Hello,
    Ping,
    Pong,
    Prompt,
    Queued,
    ServerMessage,
    Start,
    Welcome,
)
from schemas.codec import decode_client_messages, encode
from schemas.session_events import TurnError

WAIT_S = 10.0
ANSWER = "one two three four"
Scene = Callable[["ScriptedPeer"], Awaitable[None]]


class ScriptedPeer:
    """One socket, seen by the script."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket

    async def heard(self, kind: type[Any]) -> Any:
        """The next message of a type; others are passed over."""
        while True:
            async with asyncio.timeout(WAIT_S):
                frame = await self.socket.recv()
            for message in decode_client_messages(frame):
                if isinstance(message, kind):
                    return message

    async def say(self, *messages: ServerMessage) -> None:
        """Send messages, a frame each."""
        for message in messages:
            await self.socket.send(encode(message), text=True)

    async def welcome(self, **numbers: float) -> Hello:
        """Let it in."""
        hello: Hello = await self.heard(Hello)
        times: dict[str, Any] = {"ping_s": 20.0, "pong_s": 20.0} | numbers
        await self.say(Welcome(connection="c", user="alice", frame_bytes_max=65_536, **times))
        return hello

    async def leave(self, code: int, **words: Any) -> None:
        """Say why and close."""
        fields: dict[str, Any] = {"reason": "as scripted", "reconnect": True} | words
        await self.say(Disconnect(code=code, **fields))
        await self.socket.close(code)


@asynccontextmanager
async def scripted(*scenes: Scene, full: int = 0) -> AsyncIterator[str]:
    """A gateway that plays one scene per connection; `full`: so many are turned away before."""
    played = iter(scenes)
    turned_away = iter(range(full))
    faults: list[BaseException] = []

    async def handle(socket: ServerConnection) -> None:
        try:
            await next(played)(ScriptedPeer(socket))
        except ConnectionClosed:
            pass
        except (AssertionError, StopIteration, TimeoutError) as error:
            faults.append(error)

    def before(_: ServerConnection, request: Request) -> Response | None:
        if next(turned_away, None) is None:
            return None
        from websockets.datastructures import Headers

        return Response(HTTPStatus.SERVICE_UNAVAILABLE, "full", Headers({"Retry-After": "0", "Content-Length": "0"}))

    async with serve(
        handle, "127.0.0.1", 0, subprotocols=[Subprotocol(SUBPROTOCOL)], process_request=before, compression=None
    ) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}/v1/connect"
    assert not faults


def attached() -> Attached:
    return Attached(session="s", head="c0", recovered="live")


def opening() -> tuple[ServerMessage, ...]:
    return (
        Queued(session="s", turn="t", prompt_id="p", c="c1"),
        Start(session="s", turn="t", attempt=1, c="c2"),
    )


def delta(seq: int, text: str, c: str = "") -> Delta:
    return Delta(session="s", turn="t", attempt=1, seq=seq, n=1, text=text, c=c or f"d{seq}")


def end(**more: Any) -> End:
    fields: dict[str, Any] = {"session": "s", "turn": "t", "attempt": 1, "reason": "complete", "c": "e"} | more
    return End(**fields)


async def answer(peer: ScriptedPeer, words: Sequence[str], first: int = 0) -> None:
    await peer.say(*(delta(first + place, word) for place, word in enumerate(words)))


async def text_of(line: Line, **options: Any) -> str:
    """Ask, and put the answer together."""
    async with asyncio.timeout(WAIT_S):
        return "".join([piece async for piece in line.ask("Hi", session="s", prompt_id="p", **options)])


async def whole(peer: ScriptedPeer) -> None:
    """An answer without a fault."""
    await peer.welcome()
    asked = await peer.heard(Prompt)
    assert asked.prompt_id == "p"
    await peer.say(Accepted(session="s", prompt_id="p", turns=("t",)), attached(), *opening())
    await answer(peer, ["one ", "two ", "three ", "four"])
    await peer.say(end())
    await peer.socket.wait_closed()


async def half(peer: ScriptedPeer) -> None:
    """The first half of one."""
    await peer.welcome()
    await peer.heard(Prompt)
    await peer.say(Accepted(session="s", prompt_id="p", turns=("t",)), attached(), *opening())
    await answer(peer, ["one ", "two "])


async def second_half(peer: ScriptedPeer, *, repeats: int = 0) -> None:
    """The rest, from the cursor that the client brings; perhaps with something told before."""
    hello = await peer.welcome()
    assert hello.resume == {"s": "d1"}
    await peer.say(Attached(session="s", head="c9", recovered="replayed", source="memory"))
    await answer(peer, ["one ", "two "][2 - repeats :], 2 - repeats)
    await answer(peer, ["three ", "four"], 2)
    await peer.say(end())
    await peer.socket.wait_closed()


async def test_whole_answer() -> None:
    """Asked and put together."""
    async with scripted(whole) as url, tokenwire.connect(url, token="x") as line:
        assert await text_of(line) == ANSWER


async def test_cut_in_mid_answer() -> None:
    """Back with the cursor, nothing twice."""

    async def cut(peer: ScriptedPeer) -> None:
        await half(peer)
        peer.socket.transport.abort()

    async def rest(peer: ScriptedPeer) -> None:
        await second_half(peer, repeats=1)

    async with scripted(cut, rest) as url, tokenwire.connect([url, url], token="x") as line:
        assert await text_of(line) == ANSWER
        assert line.connections == 2


@pytest.mark.parametrize("code", [1012, 1013, 4500, 4508, 4512])
async def test_sent_away_in_mid_answer(code: int) -> None:
    """After the pause that the gateway names it goes on from its cursor."""

    async def away(peer: ScriptedPeer) -> None:
        await half(peer)
        await peer.leave(code, retry_after_s=0.01, cursors={"s": "d1"})

    async with scripted(away, second_half) as url, tokenwire.connect(url, token="x") as line:
        assert await text_of(line) == ANSWER


async def test_drained_in_mid_answer() -> None:
    """Told its slot and cut off before it: it comes back no earlier, and misses nothing."""
    loop = asyncio.get_running_loop()
    times: list[float] = []

    async def drained(peer: ScriptedPeer) -> None:
        await half(peer)
        times.append(loop.time())
        await peer.say(Drain(reconnect_in_ms=300, cursors={"s": "d1"}))
        await peer.socket.close(1012)

    async def sibling(peer: ScriptedPeer) -> None:
        times.append(loop.time())
        await second_half(peer)

    async with scripted(drained, sibling) as url, tokenwire.connect(url, token="x") as line:
        assert await text_of(line) == ANSWER
    assert times[1] - times[0] >= 0.295


async def test_duplicates() -> None:
    """What was told before is told to nobody."""

    async def twice(peer: ScriptedPeer) -> None:
        await half(peer)
        await peer.say(*opening())
        await answer(peer, ["one ", "two "])
        await answer(peer, ["three ", "four"], 2)
        await peer.say(end(), end())
        await peer.socket.wait_closed()

    async with scripted(twice) as url, tokenwire.connect(url, token="x") as line:
        assert await text_of(line) == ANSWER


async def test_hole_is_mended() -> None:
    """It attaches again at the last cursor before the hole; what comes before the answer to that is dropped."""

    async def holed(peer: ScriptedPeer) -> None:
        await half(peer)
        await answer(peer, ["four"], 3)
        again = await peer.heard(Attach)
        assert again.from_ == "d1"
        await answer(peer, ["five"], 4)
        await peer.say(Attached(session="s", head="c9", recovered="replayed"))
        await answer(peer, ["three ", "four"], 2)
        await peer.say(end())
        await peer.socket.wait_closed()

    async with scripted(holed) as url, tokenwire.connect(url, token="x") as line:
        assert await text_of(line) == ANSWER


async def test_hole_that_stays_is_said() -> None:
    """At the cursor, from the start, then taken as it is."""

    async def holed(peer: ScriptedPeer) -> None:
        await half(peer)
        for expected in ("d1", "start"):
            await answer(peer, ["four"], 3)
            assert (await peer.heard(Attach)).from_ == expected
            await peer.say(Attached(session="s", head="c9", recovered="replayed"))
        await answer(peer, ["four"], 3)
        await peer.say(end())
        await peer.socket.wait_closed()

    async with scripted(holed) as url, tokenwire.connect(url, token="x") as line:
        line.prompt("Hi", session="s", prompt_id="p")
        kinds: list[type[Any]] = []
        async with asyncio.timeout(WAIT_S):
            async for message in line:
                kinds.append(type(message))
                if isinstance(message, End):
                    break
    assert kinds.count(Hole) == 1
    assert kinds[-3:] == [Hole, Delta, End]


async def test_idle_client_notices_a_hole_by_the_heads() -> None:
    """A head that stays ahead over two pings is asked for."""

    async def silent(peer: ScriptedPeer) -> None:
        await half(peer)
        await peer.say(Ping(heads={"s": "d3"}), Ping(heads={"s": "d3"}))
        assert (await peer.heard(Attach)).from_ == "d1"
        await peer.say(Attached(session="s", head="d3", recovered="replayed"))
        await answer(peer, ["three ", "four"], 2)
        await peer.say(end())
        await peer.socket.wait_closed()

    async with scripted(silent) as url, tokenwire.connect(url, token="x") as line:
        assert await text_of(line) == ANSWER


async def test_prompt_without_an_answer_is_sent_again() -> None:
    """Under the same id, so that it is paid once."""

    async def dies(peer: ScriptedPeer) -> None:
        await peer.welcome()
        assert (await peer.heard(Prompt)).prompt_id == "p"
        peer.socket.transport.abort()

    async with scripted(dies, whole) as url, tokenwire.connect(url, token="x") as line:
        assert await text_of(line) == ANSWER


async def test_pings_are_answered_and_silence_is_left() -> None:
    """A gateway that promised to speak every 50 ms and does not is dead."""

    async def falls_silent(peer: ScriptedPeer) -> None:
        await peer.welcome(ping_s=0.1, pong_s=0.1)
        await peer.say(Ping())
        await peer.heard(Pong)
        await peer.socket.wait_closed()

    async with scripted(falls_silent, whole) as url, tokenwire.connect(url, token="x") as line:
        assert await text_of(line) == ANSWER
        assert line.connections == 2


async def test_full_house() -> None:
    """503 is a pause, not an end."""
    async with scripted(whole, full=2) as url, tokenwire.connect(url, token="x") as line:
        assert await text_of(line) == ANSWER


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
