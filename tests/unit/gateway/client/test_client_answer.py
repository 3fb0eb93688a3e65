"""`ask` of the Python client, against a scripted gateway.

Covers: gateway.client.answer, gateway.client.errors, gateway.client.line.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import tokenwire
from gateway.client.answer import Answer, Hole
from gateway.client.errors import AnswerFailed, LineClosed
from gateway.client.line import Line
from schemas.client_messages import Cancel, Hello, Prompt
from schemas.codec import decode_client_messages
from schemas.errors import InvalidField
from schemas.gateway_messages import (
    Accepted,
    Attached,
    Delta,
    Disconnect,
    End,
    Gap,
    Queued,
    ServerMessage,
    Snapshot,
    SnapshotTurn,
    Start,
    Switch,
    Welcome,
)
from schemas.session_events import TurnError, Usage
from tests.unit.gateway.client.scripted_gateway import (
    ANSWER,
    WAIT_S,
    ScriptedPeer,
    answer,
    attached,
    half,
    scripted,
    whole,
)

USAGE = Usage(input_tokens=3, output_tokens=4)
SHA_OF_ANOTHER = "0" * 64


def ask(line: Line, **options: Any) -> Answer:
    return line.ask("Hi", session="s", prompt_id="p", **options)


async def read(answer_: Answer) -> str:
    async with asyncio.timeout(WAIT_S):
        return "".join([piece async for piece in answer_])


def one_turn(session: str, prompt_id: str, words: str, **end: Any) -> list[ServerMessage]:
    """Everything of a turn that is told."""
    turn = f"t-{prompt_id}"
    fields: dict[str, Any] = {"reason": "complete", "usage": USAGE, "cost_nano_usd": 7} | end
    return [
        Accepted(session=session, prompt_id=prompt_id, turns=(turn,)),
        Queued(session=session, turn=turn, prompt_id=prompt_id, model="small", c=f"{turn}-1"),
        Start(session=session, turn=turn, attempt=1, model="small-2026", provider="x", c=f"{turn}-2"),
        *(
            Delta(session=session, turn=turn, attempt=1, seq=seq, n=1, text=word, c=f"{turn}-d{seq}")
            for seq, word in enumerate(words)
        ),
        End(session=session, turn=turn, attempt=1, c=f"{turn}-e", **fields),
    ]


async def answers_all(peer: ScriptedPeer) -> None:
    """Answer every prompt with its own text, as soon as it comes."""
    await peer.welcome()
    while True:
        asked = await peer.heard(Prompt)
        await peer.say(Attached(session=asked.session, head="c0", recovered="live"))
        await peer.say(*one_turn(asked.session, asked.prompt_id, asked.input))


async def test_what_it_took_is_told_with_it() -> None:
    """Model, usage, cost and state, beside the text; the state moves with the turn."""
    async with scripted(answers_all) as url, tokenwire.connect(url, token="x") as line:
        asked = ask(line)
        assert (asked.state, asked.text, asked.usage) == ("new", "", Usage())
        async with asyncio.timeout(WAIT_S):
            assert await asked is asked

    assert (asked.session, asked.prompt_id) == ("s", "p")
    assert (asked.state, asked.text, asked.model) == ("complete", "Hi", "small-2026")
    assert (asked.usage, asked.cost_nano_usd) == (USAGE, 7)


async def test_many_at_once_and_the_line_beside_them() -> None:
    """Each has its own text, and who iterates is told what no answer takes."""
    async with scripted(answers_all) as url, tokenwire.connect(url, token="x") as line:
        answers = [line.ask(f"question {place}", session=f"s{place % 3}") for place in range(9)]
        line.prompt("mine", session="s0", prompt_id="mine")
        async with asyncio.timeout(WAIT_S):
            texts = await asyncio.gather(*(read(asked) for asked in answers))
            told = [message async for message in until_end(line)]

    assert texts == [f"question {place}" for place in range(9)]
    assert "".join(message.text for message in told if isinstance(message, Delta)) == "mine"
    assert {message.prompt_id for message in told if isinstance(message, Accepted | Queued)} == {"mine"}


async def until_end(line: Line) -> Any:
    async for message in line:
        yield message
        if isinstance(message, End):
            return


async def test_what_nobody_iterates_for_does_not_stop_an_answer() -> None:
    """Another device's answer fills what is kept for whoever iterates; it makes way, and a hole says so."""

    async def chatters(peer: ScriptedPeer) -> None:
        await peer.welcome()
        await peer.heard(Prompt)
        await peer.say(attached(), Queued(session="s", turn="o", prompt_id="other", c="o1"))
        await peer.say(Start(session="s", turn="o", attempt=1, c="o2"))
        for seq in range(100):
            await peer.say(Delta(session="s", turn="o", attempt=1, seq=seq, n=1, text="x" * 1_000, c=f"o{seq}"))
        await peer.say(*one_turn("s", "p", "yes"))
        await peer.socket.wait_closed()

    async with scripted(chatters) as url, tokenwire.connect(url, token="x", inbox_bytes_max=10_000) as line:
        assert await read(ask(line)) == "yes"
        assert line.inbox.bytes <= 12_000
        async with asyncio.timeout(WAIT_S):
            while not isinstance(await anext(line), Hole):
                pass


async def test_unread_answer_stops_the_socket_not_the_memory() -> None:
    """Until it is read on."""

    async with scripted(answers_all) as url, tokenwire.connect(url, token="x", inbox_bytes_max=1_000) as line:
        asked = line.ask("y" * 5_000, session="s")
        async with asyncio.timeout(WAIT_S):
            pieces = aiter(asked)
            got = await anext(pieces)
            while asked.unread_chars <= 1_000:
                asked.changed.clear()
                await asked.changed.wait()
            assert asked.unread_chars <= 1_001
            got += "".join([piece async for piece in pieces])
    assert got == "y" * 5_000


@pytest.mark.parametrize("leave", ["break", "raise", "cancelled", "with", "end of the block"])
async def test_left_early_it_is_cancelled_where_that_was_asked_for(leave: str) -> None:
    """The gateway hears of it, however the loop is left, also when the line is left with it."""
    cancelled = asyncio.get_running_loop().create_future()

    async def hears(peer: ScriptedPeer) -> None:
        await half(peer)
        cancel = await peer.heard(Cancel)
        await peer.say(End(session="s", turn="t", attempt=1, reason="cancelled", c="e"))
        cancelled.set_result(cancel.prompt_id)
        await peer.socket.wait_closed()

    async with scripted(hears) as url:
        async with tokenwire.connect(url, token="x") as line:
            await LEAVING[leave](ask(line, cancel_on_exit=True))
            if leave != "end of the block":
                async with asyncio.timeout(WAIT_S):
                    assert await cancelled == "p"
        assert cancelled.done()


async def leave_by_break(asked: Answer) -> None:
    async for _ in asked:
        break


async def leave_by_raise(asked: Answer) -> None:
    with contextlib.suppress(ZeroDivisionError):
        async for _ in asked:
            raise ZeroDivisionError


async def leave_cancelled(asked: Answer) -> None:
    began = asyncio.Event()

    async def read_on() -> None:
        async for _ in asked:
            began.set()

    reading = asyncio.ensure_future(read_on())
    await began.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


async def leave_with(asked: Answer) -> None:
    async with asked:
        pieces = aiter(asked)
        await anext(pieces)
    HELD.append(pieces)


async def leave_later(asked: Answer) -> None:
    pieces = aiter(asked)
    await anext(pieces)
    HELD.append(pieces)


HELD: list[Any] = []
"""Iterators that nobody closes."""
LEAVING: dict[str, Callable[[Answer], Awaitable[None]]] = {
    "break": leave_by_break,
    "raise": leave_by_raise,
    "cancelled": leave_cancelled,
    "with": leave_with,
    "end of the block": leave_later,
}


async def test_left_early_it_goes_on_otherwise() -> None:
    """Nothing is cancelled, and the line can be asked again."""

    async def goes_on(peer: ScriptedPeer) -> None:
        await half(peer)
        frames = await peer.socket.recv()
        (asked,) = [message for message in decode_client_messages(frames) if not isinstance(message, Hello)]
        assert isinstance(asked, Prompt)
        await peer.say(*one_turn("s", "p2", "two"))
        await peer.socket.wait_closed()

    async with scripted(goes_on) as url, tokenwire.connect(url, token="x") as line:
        await leave_by_break(ask(line))
        assert await read(line.ask("again", session="s", prompt_id="p2")) == "two"


async def test_what_was_asked_last_is_seen_to_the_gateway() -> None:
    """A prompt is not lost because its program leaves right after it."""
    heard: list[str] = []

    async def hears(peer: ScriptedPeer) -> None:
        await peer.welcome()
        asked = await peer.heard(Prompt)
        heard.append(asked.prompt_id)
        await peer.say(Accepted(session="s", prompt_id="p", turns=("t",)))
        await peer.socket.wait_closed()

    async with scripted(hears) as url:
        async with tokenwire.connect(url, token="x") as line:
            line.prompt("Hi", session="s", prompt_id="p")
        assert heard == ["p"]


def picture(text: str, **more: Any) -> SnapshotTurn:
    return SnapshotTurn(turn="t", prompt_id="p", attempt=1, next_seq=4, text=text, **more)


@pytest.mark.parametrize(
    ("turns", "rest"),
    [
        ([picture(ANSWER, reason="complete", usage=USAGE, cost_nano_usd=7)], ["three four"]),
        ([picture("one two ", more=True), picture("three four", reason="complete")], ["three four"]),
        ([picture("another", reason="complete")], ["another"]),
    ],
    ids=["goes on", "in pieces", "another text"],
)
async def test_answer_that_ended_while_the_line_was_away(turns: list[SnapshotTurn], rest: list[str]) -> None:
    """A picture that says so ends it: nobody waits for an end that was told in it."""

    async def breaks(peer: ScriptedPeer) -> None:
        await half(peer)
        peer.socket.transport.abort()

    async def shows(peer: ScriptedPeer) -> None:
        await peer.welcome()
        await peer.say(Attached(session="s", head="s3", recovered="gap"), Gap(session="s", reason="expired"))
        await peer.say(*(Snapshot(session="s", turns=(turn,), c="" if turn.more else "s3") for turn in turns))
        await peer.socket.wait_closed()

    async with scripted(breaks, shows) as url, tokenwire.connect(url, token="x") as line:
        asked = ask(line)
        async with asyncio.timeout(WAIT_S):
            pieces = [piece async for piece in asked]
    assert "".join(pieces) == "one two " + rest[0]
    assert asked.state == "complete"
    assert asked.text == "".join(turn.text for turn in turns)


async def test_hole_that_stays_is_no_whole_answer() -> None:
    """What could not be had again is said, not left out in silence."""

    async def leaves_it(peer: ScriptedPeer) -> None:
        await half(peer)
        for _ in range(3):
            await answer(peer, ["four"], 3)
            await peer.say(Attached(session="s", head="c9", recovered="replayed"))
        await answer(peer, ["four"], 3)
        await peer.say(End(session="s", turn="t", attempt=1, reason="complete", c="e"))
        await peer.socket.wait_closed()

    async with scripted(leaves_it) as url, tokenwire.connect(url, token="x") as line:
        with pytest.raises(AnswerFailed) as failed:
            await read(ask(line))
    assert failed.value.code == "hole"


@pytest.mark.parametrize(
    ("end", "code", "words"),
    [
        ({"reason": "error", "error": TurnError(code="poison", message="gave up")}, "poison", "gave up"),
        ({"reason": "cancelled"}, "cancelled", "the answer ended cancelled"),
        ({"reason": "complete", "text_sha256": SHA_OF_ANOTHER}, "hole", "not the one"),
    ],
)
async def test_answer_that_does_not_end_whole(end: dict[str, Any], code: str, words: str) -> None:
    """Raised once its text was told, which stays; so do its cost and state."""

    async def ends_so(peer: ScriptedPeer) -> None:
        await peer.welcome()
        await peer.heard(Prompt)
        await peer.say(attached(), *one_turn("s", "p", "half", **end))
        await peer.socket.wait_closed()

    async with scripted(ends_so) as url, tokenwire.connect(url, token="x") as line:
        asked = ask(line)
        with pytest.raises(AnswerFailed, match=words) as failed:
            await read(asked)
    assert failed.value.code == code
    assert (asked.text, asked.cost_nano_usd, asked.state) == ("half", 7, end["reason"])


async def test_attempt_that_begins_anew_is_told_from_its_beginning() -> None:
    """And one that goes on is not told twice."""

    async def switches(peer: ScriptedPeer) -> None:
        await half(peer)
        await peer.say(Switch(session="s", turn="t", attempt=2, from_seq=2, model="b", c="a2"))
        await peer.say(Delta(session="s", turn="t", attempt=2, seq=2, n=1, text="three", c="b2"))
        await peer.say(Switch(session="s", turn="t", attempt=3, from_seq=0, model="d", c="a3"))
        await peer.say(Delta(session="s", turn="t", attempt=3, seq=0, n=1, text="new", c="b3"))
        await peer.say(End(session="s", turn="t", attempt=3, reason="complete", c="e"))
        await peer.socket.wait_closed()

    async with scripted(switches) as url, tokenwire.connect(url, token="x") as line:
        asked = ask(line)
        assert await read(asked) == "one two threenew"
        assert (asked.text, asked.model) == ("new", "d")


async def test_line_that_ends_ends_its_answers() -> None:
    """With the gateway's reason; one that is asked for afterwards as well."""

    async def sends_away(peer: ScriptedPeer) -> None:
        await half(peer)
        await peer.say(Disconnect(code=4401, reason="logged out", reconnect=False))
        await peer.socket.close(4401)

    async with scripted(sends_away) as url, tokenwire.connect(url, token="x") as line:
        with pytest.raises(LineClosed, match="logged out"):
            await read(ask(line))
        with pytest.raises(LineClosed, match="logged out"):
            await read(line.ask("again"))


async def test_what_cannot_be_asked() -> None:
    """Told at once, before anything is sent."""
    async with scripted(whole) as url, tokenwire.connect(url, token="x") as line:
        for field, options in (("models", {"models": ["a", "b"]}), ("on_busy", {"on_busy": "x"}), ("foo", {"foo": 1})):
            with pytest.raises(InvalidField) as refused:
                line.ask("Hi", **options)
            assert refused.value.field == field
        asked = ask(line)
        assert await read(asked) == ANSWER
        with pytest.raises(AnswerFailed, match="ask again"):
            await read(asked)
        with pytest.raises(InvalidField, match="prompt_id"):
            ask(line)
        assert isinstance(line.welcome, Welcome)
