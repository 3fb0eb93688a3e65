"""Faults that every client must live with, as scripts of a gateway, and what a client must have to show for each."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from schemas.client_messages import Attach, Cancel, Hello, Pong, Prompt
from schemas.gateway_messages import (
    Accepted,
    Attached,
    Delta,
    Drain,
    Gap,
    Lag,
    Ping,
    Snapshot,
    SnapshotTurn,
    Start,
    Switch,
)
from tests.unit.gateway.client.prompt_scripts import (
    LONG_QUESTION,
    dies_in_mid_prompt,
    dies_of_a_large_frame,
    hears_a_long_prompt,
    hears_no_prompt,
    refuses_a_long_prompt,
    refuses_and_dies,
)
from tests.unit.gateway.client.scripted_gateway import (
    ANSWER,
    Scene,
    ScriptedPeer,
    answer,
    attached,
    end,
    half,
    opening,
    second_half,
    whole,
)

__all__: list[str] = []


@dataclass(frozen=True)
class FaultScript:
    """Scenes, and what the client that asked `Hi` under `p` in session `s` knows in the end."""

    scenes: tuple[Scene, ...]
    expects: dict[str, Any] = field(default_factory=lambda: {"text": ANSWER, "end": "complete"})
    joins: bool = False
    """The client asks nothing: it attaches at the tail while somebody else's prompt is being answered."""
    full: int = 0
    """So many connections are turned away first."""
    cancel_at: str = ""
    """The client cancels once its text is this."""
    tokens: tuple[str, ...] = ("x",)
    """Tokens that its token function gives, one per connection; the last one again and again."""
    asks: str = "Hi"


async def cut(peer: ScriptedPeer) -> None:
    await half(peer)
    peer.socket.transport.abort()


async def rest_with_a_repetition(peer: ScriptedPeer) -> None:
    await second_half(peer, repeats=1)


def sent_away(code: int) -> Scene:
    async def away(peer: ScriptedPeer) -> None:
        await half(peer)
        await peer.leave(code, retry_after_s=0.01, cursors={"s": "d1"})

    return away


def drained() -> tuple[Scene, Scene]:
    """The second scene fails if the client comes before its slot."""
    told_at_s: list[float] = []

    async def leaves(peer: ScriptedPeer) -> None:
        await half(peer)
        told_at_s.append(asyncio.get_running_loop().time())
        await peer.say(Drain(reconnect_in_ms=300, cursors={"s": "d1"}))
        await peer.socket.close(1012)

    async def sibling(peer: ScriptedPeer) -> None:
        assert asyncio.get_running_loop().time() - told_at_s[0] >= 0.29
        await second_half(peer)

    return leaves, sibling


async def tells_twice(peer: ScriptedPeer) -> None:
    await half(peer)
    await peer.say(*opening())
    await answer(peer, ["one ", "two "])
    await answer(peer, ["three ", "four"], 2)
    await peer.say(end(), end())
    await peer.socket.wait_closed()


async def leaves_a_hole(peer: ScriptedPeer) -> None:
    await half(peer)
    await answer(peer, ["four"], 3)
    again = await peer.heard(Attach)
    assert again.from_ == "d1"
    await answer(peer, ["five"], 4)  # before the answer to the attach: dropped
    await peer.say(Attached(session="s", head="c9", recovered="replayed"))
    await answer(peer, ["three ", "four"], 2)
    await peer.say(end())
    await peer.socket.wait_closed()


async def cannot_mend_a_hole(peer: ScriptedPeer) -> None:
    await half(peer)
    for expected in ("d1", "start"):
        await answer(peer, ["four"], 3)
        assert (await peer.heard(Attach)).from_ == expected
        await peer.say(Attached(session="s", head="c9", recovered="replayed"))
    await answer(peer, ["four"], 3)
    await peer.say(end())
    await peer.socket.wait_closed()


async def shows_a_hole_by_heads(peer: ScriptedPeer) -> None:
    await half(peer)
    await peer.say(Ping(heads={"s": "d3"}), Ping(heads={"s": "d3"}))
    assert (await peer.heard(Attach)).from_ == "d1"
    await peer.say(Attached(session="s", head="d3", recovered="replayed"))
    await answer(peer, ["three ", "four"], 2)
    await peer.say(end())
    await peer.socket.wait_closed()


async def dies_on_the_prompt(peer: ScriptedPeer) -> None:
    await peer.welcome()
    assert (await peer.heard(Prompt)).prompt_id == "p"
    peer.socket.transport.abort()


async def falls_silent(peer: ScriptedPeer) -> None:
    await peer.welcome(ping_s=0.1, pong_s=0.1)
    await peer.say(Ping())
    await peer.heard(Pong)
    await peer.socket.wait_closed()


async def refuses(peer: ScriptedPeer) -> None:
    await peer.heard(Hello)
    await peer.leave(4401, reconnect=False)


async def sends_garbage(peer: ScriptedPeer) -> None:
    await half(peer)
    await peer.socket.send("{not JSON")
    await peer.socket.wait_closed()


async def rolls_up(peer: ScriptedPeer) -> None:
    """A slow client is told joined deltas."""
    await half(peer)
    await peer.say(
        Lag(mode="rollup"),
        Delta(session="s", turn="t", attempt=1, seq=2, n=2, text="three four", c="d3"),
        end(),
    )
    await peer.socket.wait_closed()


async def skips(peer: ScriptedPeer) -> None:
    """A slow client that asked for it is taken to the newest."""
    await half(peer)
    turn = SnapshotTurn(turn="t", prompt_id="p", attempt=1, next_seq=3, text="one two three ")
    await peer.say(Gap(session="s", reason="skipped"), Snapshot(session="s", turns=(turn,), c="s3"))
    await answer(peer, ["four"], 3)
    await peer.say(end())
    await peer.socket.wait_closed()


async def has_lost_the_log(peer: ScriptedPeer) -> None:
    """What the cursor stood for is gone: a gap and the session as it stands."""
    hello = await peer.welcome()
    assert hello.resume == {"s": "d1"}
    turn = SnapshotTurn(turn="t", prompt_id="p", attempt=1, next_seq=3, text="one two three ")
    await peer.say(
        Attached(session="s", head="s3", recovered="gap"),
        Gap(session="s", reason="expired"),
        Snapshot(session="s", turns=(turn,), c="s3"),
    )
    await answer(peer, ["four"], 3)
    await peer.say(end())
    await peer.socket.wait_closed()


def picture(text: str, next_seq: int, *, more: bool = False) -> SnapshotTurn:
    return SnapshotTurn(turn="t", prompt_id="p", attempt=1, next_seq=next_seq, text=text, more=more)


async def shows_the_open_turn(peer: ScriptedPeer) -> None:
    """Somebody joins in mid-answer: one picture in pieces, then the rest."""
    await peer.welcome()
    assert (await peer.heard(Attach)).from_ == "tail"
    await peer.say(
        Attached(session="s", head="d2", recovered="snapshot", source="log"),
        Snapshot(session="s", turns=(picture("one ", 3, more=True),)),
        Snapshot(session="s", turns=(picture("two three ", 3),), c="s3"),
    )
    await answer(peer, ["four"], 3)
    await peer.say(end())
    await peer.socket.wait_closed()


async def dies_in_the_picture(peer: ScriptedPeer) -> None:
    """The first piece is told, the rest is not: what the client has is no place to come back to."""
    await peer.welcome()
    assert (await peer.heard(Attach)).from_ == "tail"
    await peer.say(
        Attached(session="s", head="d2", recovered="snapshot", source="log"),
        Snapshot(session="s", turns=(picture("one ", 3, more=True),)),
    )
    await peer.leave(1012, retry_after_s=0.01)


async def missed_a_turn_while_idle(peer: ScriptedPeer) -> None:
    """Nothing runs that the client knows of; heads tell it of a whole answer that never arrived."""
    await peer.welcome()
    assert (await peer.heard(Attach)).from_ == "tail"
    await peer.say(attached(), Ping(heads={"s": "c0"}), Ping(heads={"s": "e"}), Ping(heads={"s": "e"}))
    assert (await peer.heard(Attach)).from_ == "c0"
    await peer.say(Attached(session="s", head="e", recovered="replayed"), *opening())
    await answer(peer, ["one ", "two ", "three ", "four"])
    await peer.say(end())
    await peer.socket.wait_closed()


async def begins_anew(peer: ScriptedPeer) -> None:
    """A second attempt: what the first one said is void."""
    await half(peer)
    await peer.say(Start(session="s", turn="t", attempt=2, c="a2"))
    for seq, word in enumerate(["one ", "two ", "three ", "four"]):
        await peer.say(Delta(session="s", turn="t", attempt=2, seq=seq, n=1, text=word, c=f"b{seq}"))
    await peer.say(end(attempt=2))
    await peer.socket.wait_closed()


async def goes_on_elsewhere(peer: ScriptedPeer) -> None:
    """Another model goes on from the text so far."""
    await half(peer)
    await peer.say(Switch(session="s", turn="t", attempt=2, from_seq=2, cause="failover", c="a2"))
    for seq, word in ((2, "three "), (3, "four")):
        await peer.say(Delta(session="s", turn="t", attempt=2, seq=seq, n=1, text=word, c=f"b{seq}"))
    await peer.say(end(attempt=2))
    await peer.socket.wait_closed()


async def is_cancelled(peer: ScriptedPeer) -> None:
    await half(peer)
    cancel = await peer.heard(Cancel)
    assert (cancel.session, cancel.prompt_id) == ("s", "p")
    await peer.say(end(reason="cancelled"))
    await peer.socket.wait_closed()


async def dies_on_the_cancel(peer: ScriptedPeer) -> None:
    await half(peer)
    await peer.heard(Cancel)
    peer.socket.transport.abort()


async def hears_the_cancel_again(peer: ScriptedPeer) -> None:
    await peer.welcome()
    await peer.say(attached())
    await peer.heard(Cancel)
    await peer.say(end(reason="cancelled"))
    await peer.socket.wait_closed()


def by_token(token: str, scene: Scene) -> Scene:
    """The scene, if the client brings this token."""

    async def checked(peer: ScriptedPeer) -> None:
        heard = peer.heard

        async def heard_token(kind: type[Any]) -> Any:
            message = await heard(kind)
            assert not isinstance(message, Hello) or message.token == token
            return message

        peer.heard = heard_token  # type: ignore[method-assign]  # looked over its shoulder
        await scene(peer)

    return checked


async def ends_the_token(peer: ScriptedPeer) -> None:
    await half(peer)
    await peer.leave(4401, reconnect=False)


async def accepts_and_answers_late(peer: ScriptedPeer) -> None:
    """Accepted, then cut off before a word of the answer: nothing is asked again."""
    await peer.welcome()
    await peer.heard(Prompt)
    await peer.say(attached(), Accepted(session="s", prompt_id="p", turns=("t",)))
    await peer.leave(1012, retry_after_s=0.01, cursors={"s": "c0"})


async def answers_from_the_start(peer: ScriptedPeer) -> None:
    await peer.welcome()
    await peer.say(Attached(session="s", head="c9", recovered="replayed"), *opening())
    await answer(peer, ["one ", "two ", "three ", "four"])
    await peer.say(end())
    await peer.socket.wait_closed()


WHOLE = {"text": ANSWER, "end": "complete"}


SCRIPTS: dict[str, FaultScript] = {
    "nothing": FaultScript((whole,), WHOLE | {"connections": 1}),
    "cut in mid-answer": FaultScript((cut, rest_with_a_repetition), WHOLE | {"connections": 2}),
    **{
        f"closed with {code} in mid-answer": FaultScript((sent_away(code), second_half))
        for code in (1012, 1013, 4500, 4508, 4512)
    },
    "drained, and cut off before its slot": FaultScript(drained()),
    "duplicates": FaultScript((tells_twice,)),
    "a hole": FaultScript((leaves_a_hole,)),
    "a hole that stays": FaultScript((cannot_mend_a_hole,), {"text": "one two four", "end": "complete", "holes": 1}),
    "a hole at the end, shown by heads": FaultScript((shows_a_hole_by_heads,)),
    "cut before the prompt was answered": FaultScript((dies_on_the_prompt, whole)),
    "cut between acceptance and answer": FaultScript((accepts_and_answers_late, answers_from_the_start)),
    "silence": FaultScript((falls_silent, whole), WHOLE | {"connections": 2}),
    "a full house": FaultScript((whole,), full=2),
    "told to stay away": FaultScript((refuses,), {"text": "", "end": None, "stopped": 4401}),
    "garbage": FaultScript((sends_garbage, second_half)),
    "slow: joined deltas": FaultScript((rolls_up,)),
    "slow: taken to the newest": FaultScript((skips,)),
    "what its cursor stood for is gone": FaultScript((cut, has_lost_the_log)),
    "joined in mid-answer": FaultScript((shows_the_open_turn,), joins=True),
    "cut in the picture of the open turn": FaultScript((dies_in_the_picture, shows_the_open_turn), joins=True),
    "idle, and a whole answer missed, shown by heads": FaultScript((missed_a_turn_while_idle,), joins=True),
    "a second attempt": FaultScript((begins_anew,)),
    "another model goes on": FaultScript((goes_on_elsewhere,)),
    "cancelled": FaultScript((is_cancelled,), {"text": "one two ", "end": "cancelled"}, cancel_at="one two "),
    "cut on the cancel": FaultScript(
        (dies_on_the_cancel, hears_the_cancel_again), {"text": "one two ", "end": "cancelled"}, cancel_at="one two "
    ),
    "a new token for each connection": FaultScript(
        (by_token("t1", cut), by_token("t2", second_half)), tokens=("t1", "t2")
    ),
    "a long prompt": FaultScript((hears_a_long_prompt,), asks=LONG_QUESTION),
    "cut in the middle of a long prompt": FaultScript((dies_in_mid_prompt, hears_a_long_prompt), asks=LONG_QUESTION),
    "a long prompt that is refused": FaultScript(
        (refuses_a_long_prompt,), WHOLE | {"connections": 1}, asks=LONG_QUESTION
    ),
    "cut after a prompt was refused": FaultScript((refuses_and_dies, hears_no_prompt), WHOLE | {"connections": 2}),
    "closed on a frame that is too large": FaultScript(
        (dies_of_a_large_frame, hears_no_prompt), WHOLE | {"connections": 2}
    ),
    "its token ends": FaultScript((by_token("t1", ends_the_token), by_token("t2", second_half)), tokens=("t1", "t2")),
}
