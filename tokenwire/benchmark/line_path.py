"""Through the whole line: a websocket client of the gateway, as the chat page is one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from schemas.client_messages import SUBPROTOCOL, Attach, ClientMessage, Hello, Pong, Prompt
from schemas.codec import decode_server_messages, encode
from schemas.gateway_messages import (
    Accepted,
    Attached,
    Delta,
    Disconnect,
    End,
    Error,
    Ping,
    ServerMessage,
    Start,
    Welcome,
)
from tokenwire.benchmark.method import THROUGH
from tokenwire.benchmark.observed_answer import ObservedAnswer

__all__ = ["LineClient", "LinePath", "LineRefused"]

ANSWER_S_MAX: Final = 60.0
CONNECT_S_MAX: Final = 30.0


class LineRefused(Exception):
    """The gateway did not let a client in."""


class LinePath:
    """Every client is a user of its own, so that all partitions of `prompts` are at work."""

    name = THROUGH

    def __init__(self, url: str, token_for: Callable[[str], str]) -> None:
        self.url = url
        self.token_for = token_for

    @asynccontextmanager
    async def client(self, label: str) -> AsyncIterator[LineClient]:
        """Connected and attached to a new session, whose log exists. Raises LineRefused."""
        token = self.token_for(label)
        async with connect(
            self.url, subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None, ping_interval=None, proxy=None
        ) as socket:
            client = LineClient(socket, session=label)
            async with asyncio.timeout(CONNECT_S_MAX):
                await client.say(Hello(token=token))
                await client.expect(Welcome)
                await client.say(Attach(session=label))
                await client.expect(Attached)
            yield client


class LineClient:
    """One websocket with one session."""

    def __init__(self, socket: ClientConnection, session: str) -> None:
        self.socket = socket
        self.session = session
        self.prompts = 0

    async def say(self, message: ClientMessage) -> None:
        await self.socket.send(encode(message), text=True)

    async def expect(self, kind: type[ServerMessage]) -> None:
        for message in decode_server_messages(await self.socket.recv()):
            if not isinstance(message, kind):
                raise LineRefused(f"the gateway answered {message} where {kind.__name__} was expected")

    async def ask(self, prompt: str) -> ObservedAnswer:
        """See `BenchClient.ask`."""
        self.prompts += 1
        message = Prompt(session=self.session, prompt_id=f"p{self.prompts}", input=prompt)
        answer = ObservedAnswer()
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                await self.say(message)
                while not await self.read_frame(answer):
                    pass
        except (WebSocketException, TimeoutError) as error:
            answer.fault = f"{type(error).__name__}: {error}"
        return answer

    async def read_frame(self, answer: ObservedAnswer) -> bool:
        """Whether the answer has ended."""
        frame = await self.socket.recv()
        now_s = time.perf_counter()
        ended = False
        for message in decode_server_messages(frame):
            if isinstance(message, Ping):
                await self.say(Pong())
            else:
                ended |= take_message(message, answer, now_s)
        return ended


def take_message(message: ServerMessage, answer: ObservedAnswer, now_s: float) -> bool:
    match message:
        case Accepted(turns=turns):
            answer.turn = turns[0]
        case Start(attempt=attempt) if attempt > 1:
            answer.fault = f"attempt {attempt} was needed"
        case Delta(seq=seq, n=n, text=text):
            if seq != len(answer.arrivals_s):
                answer.fault = f"chunk {seq} came where {len(answer.arrivals_s)} was due"
            answer.arrived(text, n, now_s)
        case End(reason=reason, error=error):
            if reason != "complete":
                answer.fault = f"it ended {reason}: {error.message if error else 'no reason given'}"
            return True
        case Error(code=code, message=text) | Disconnect(code=code, reason=text):
            answer.fault = f"{code}: {text}"
            return True
        case _:
            pass
    return False
