"""A gateway that follows a script, one scene per connection, over real websockets: what clients are tried against."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from schemas.client_messages import SUBPROTOCOL, Hello, Prompt
from schemas.codec import decode_client_messages, encode
from schemas.gateway_messages import Accepted, Attached, Delta, Disconnect, End, Queued, ServerMessage, Start, Welcome
from tests.unit.gateway.headless_browser import WEB_FOLDER

__all__ = [
    "ANSWER",
    "WAIT_S",
    "Scene",
    "ScriptedPeer",
    "answer",
    "attached",
    "delta",
    "end",
    "half",
    "opening",
    "scripted",
    "second_half",
    "whole",
]

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
        given: dict[str, Any] = {"ping_s": 20.0, "pong_s": 20.0, "frame_bytes_max": 65_536} | numbers
        await self.say(Welcome(connection="c", user="alice", **given))
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
        if not request.path.startswith("/v1/connect"):
            return module_at(request.path)
        if next(turned_away, None) is None:
            return None
        return Response(HTTPStatus.SERVICE_UNAVAILABLE, "full", Headers({"Retry-After": "0", "Content-Length": "0"}))

    async with serve(
        handle,
        "127.0.0.1",
        0,
        subprotocols=[Subprotocol(SUBPROTOCOL)],
        process_request=before,
        compression=None,
        open_timeout=1,
    ) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}/v1/connect"
    assert not faults


def module_at(path: str) -> Response:
    """The JavaScript client, for a page whose origin this is."""
    file = WEB_FOLDER / path.removeprefix("/web/")
    is_module = path.startswith("/web/") and file.is_file()
    body, kind = (file.read_bytes(), "text/javascript") if is_module else (b"<!doctype html>", "text/html")
    return Response(HTTPStatus.OK, "OK", Headers({"Content-Type": kind, "Content-Length": str(len(body))}), body)


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
