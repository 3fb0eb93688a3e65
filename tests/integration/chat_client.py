"""A websocket client as an application would write it, which trusts nothing: it checks every number it is told.

It keeps each turn's text by the protocol's rules alone (`schemas/client_messages`): a `start` voids what was before,
a `delta` must begin at the next number, an `end` is last. What breaks a rule is noted in `faults`, not raised, so
that a test sees all of it. State survives a reconnect, also to another gateway: that is what resuming must fit.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from schemas.client_messages import SUBPROTOCOL, Attach, Cancel, ClientMessage, Hello, Pong, Prompt
from schemas.codec import decode_server_messages, encode
from schemas.gateway_messages import (
    Accepted,
    Attached,
    Delta,
    Disconnect,
    End,
    Error,
    Gap,
    Ping,
    Queued,
    ServerMessage,
    Snapshot,
    Start,
    Welcome,
)
from schemas.prompt_parts import parts_of

__all__ = ["ChatClient", "SeenTurn"]

WAIT_S: Final = 30.0
FRAME_BYTES_MAX: Final = 65_536


@dataclass(slots=True)
class SeenTurn:
    """One turn as this client was told it."""

    turn: str
    session: str
    prompt_id: str = ""
    attempt: int = 0
    next_seq: int = 0
    text: str = ""
    starts: list[Start] = field(default_factory=list)
    end: End | None = None
    snapshots: int = 0


class ChatClient:
    """One user's client. `connected` makes it; `reconnect` takes it to another gateway with its cursors."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.turns: dict[str, SeenTurn] = {}
        self.cursors: dict[str, str] = {}
        self.faults: list[str] = []
        self.told: list[ServerMessage] = []
        self.put_off = 0
        """How often it was told to try again later."""
        self.disconnects: list[Disconnect] = []
        self.socket: ClientConnection | None = None
        self.reading: asyncio.Task[None] | None = None
        self.news = asyncio.Condition()

    @classmethod
    @asynccontextmanager
    async def connected(cls, gateway: str, token: str) -> AsyncIterator[Self]:
        """Connected to a gateway (its http address) and welcomed."""
        client = cls(token)
        await client.open(gateway)
        try:
            yield client
        finally:
            await client.close()

    async def open(self, gateway: str) -> Welcome:
        """Connect, saying hello with every cursor known."""
        address = gateway.replace("http", "ws", 1) + "/v1/connect"
        before = len(self.told)
        self.socket = await connect(
            address, subprotocols=[Subprotocol(SUBPROTOCOL)], compression=None, max_size=None, proxy=None
        )
        self.reading = asyncio.create_task(self.read(self.socket))
        await self.send(Hello(token=self.token, resume=dict(self.cursors)))
        welcome = await self.next_message(lambda message: isinstance(message, Welcome), before)
        assert isinstance(welcome, Welcome)
        return welcome

    async def close(self) -> None:
        """Close the socket and end its reader."""
        if self.socket is not None:
            await self.socket.close()
        if self.reading is not None:
            await self.reading

    async def reconnect(self, gateway: str) -> list[Attached]:
        """Come back, to this or another gateway; what it says of each session that was followed."""
        await self.close()
        before, sessions = len(self.told), set(self.cursors)
        await self.open(gateway)
        return [await self.attachment(session, before) for session in sorted(sessions)]

    @property
    def is_open(self) -> bool:
        """Whether the socket still reads."""
        return self.reading is not None and not self.reading.done()

    # ---- Asking

    async def send(self, message: ClientMessage) -> None:
        """Send one message."""
        assert self.socket is not None
        await self.socket.send(encode(message), text=True)

    async def attach(self, session: str, from_: str = "tail") -> Attached:
        """Follow a session; asked again, after the time that the gateway names, where it says `temporary`."""
        async with asyncio.timeout(WAIT_S):
            while True:
                before = len(self.told)
                await self.send(Attach(session=session, from_=from_))
                answer = await self.next_message(lambda message: is_attachment(message, session), before)
                if isinstance(answer, Attached):
                    return answer
                assert isinstance(answer, Error)
                assert answer.temporary, answer
                self.put_off += 1
                await asyncio.sleep(answer.retry_after_s or 0.0)

    async def attachment(self, session: str, before: int) -> Attached:
        message = await self.next_message(lambda m: isinstance(m, Attached) and m.session == session, before)
        assert isinstance(message, Attached)
        return message

    async def prompt(self, session: str, text: str, prompt_id: str = "", **more: Any) -> Accepted:
        """Ask, and wait until the prompt is accepted. A refusal is an AssertionError."""
        prompt_id = prompt_id or f"p-{secrets.token_hex(4)}"
        before = len(self.told)
        for message in parts_of(Prompt(session=session, prompt_id=prompt_id, input=text, **more), FRAME_BYTES_MAX):
            await self.send(message)
        answer = await self.next_message(
            lambda message: isinstance(message, Accepted | Error) and message.prompt_id == prompt_id, before
        )
        assert isinstance(answer, Accepted), answer
        return answer

    async def refusal(self, message: ClientMessage) -> Error:
        """Send what must be refused; the refusal."""
        before = len(self.told)
        await self.send(message)
        answer = await self.next_message(lambda told: isinstance(told, Error), before)
        assert isinstance(answer, Error)
        return answer

    async def cancel(self, session: str, prompt_id: str) -> None:
        """End a prompt's turn."""
        await self.send(Cancel(session=session, prompt_id=prompt_id))

    # ---- Waiting

    async def next_message(
        self, wanted: Callable[[ServerMessage], bool], before: int, deadline_s: float = WAIT_S
    ) -> ServerMessage:
        """The first message from the `before`-th on that is wanted."""

        def found() -> ServerMessage | None:
            return next((message for message in self.told[before:] if wanted(message)), None)

        await self.until(lambda: found() is not None, deadline_s)
        message = found()
        assert message is not None
        return message

    async def until(self, condition: Callable[[], bool], deadline_s: float = WAIT_S) -> None:
        """Wait until something that this client was told makes the condition true."""
        try:
            async with asyncio.timeout(deadline_s), self.news:
                await self.news.wait_for(lambda: condition() or not self.is_open)
        except TimeoutError:
            raise AssertionError(f"not within {deadline_s:g} s; told last: {self.told[-3:]}") from None
        assert condition(), f"the connection was closed: {self.disconnects[-1:]}"

    async def closed(self, deadline_s: float = WAIT_S) -> None:
        """Wait until the other side has ended the connection."""
        assert self.reading is not None
        async with asyncio.timeout(deadline_s):
            await asyncio.shield(self.reading)

    async def chunks_of(self, turn: str, count: int, deadline_s: float = WAIT_S) -> SeenTurn:
        """Wait until so many chunks of a turn's current attempt were told."""
        await self.until(lambda: turn in self.turns and self.turns[turn].next_seq >= count, deadline_s)
        return self.turns[turn]

    async def ended(self, turn: str, deadline_s: float = WAIT_S) -> SeenTurn:
        """Wait for a turn's end."""
        await self.until(lambda: turn in self.turns and self.turns[turn].end is not None, deadline_s)
        return self.turns[turn]

    async def answer(self, session: str, text: str, deadline_s: float = WAIT_S, **more: Any) -> SeenTurn:
        """Ask and wait for the whole answer."""
        accepted = await self.prompt(session, text, **more)
        return await self.ended(accepted.turns[0], deadline_s)

    # ---- Hearing

    async def read(self, socket: ClientConnection) -> None:
        """Take in everything until the socket closes."""
        with contextlib.suppress(ConnectionClosed):
            async for frame in socket:
                for message in decode_server_messages(frame):
                    await self.hear(message)
        async with self.news:
            self.news.notify_all()

    async def hear(self, message: ServerMessage) -> None:
        match message:
            case Ping():
                await self.send(Pong())
            case Disconnect():
                self.disconnects.append(message)
            case Queued() | Start() | Delta() | End():
                self.apply(message)
            case Snapshot():
                self.picture(message)
            case Gap():
                self.faults.append(f"gap: {message.reason}")
            case _:
                pass
        async with self.news:
            self.told.append(message)
            self.news.notify_all()

    def apply(self, message: Queued | Start | Delta | End) -> None:
        turn = self.turns.setdefault(message.turn, SeenTurn(message.turn, message.session))
        if message.c:
            self.cursors[message.session] = message.c
        if turn.end is not None:
            self.faults.append(f"after the end: {message}")
        match message:
            case Queued():
                if turn.prompt_id:
                    self.faults.append(f"queued twice: {message}")
                turn.prompt_id = message.prompt_id
            case Start():
                if message.attempt <= turn.attempt:
                    self.faults.append(f"attempt {message.attempt} after {turn.attempt}")
                turn.attempt, turn.next_seq, turn.text = message.attempt, 0, ""
                turn.starts.append(message)
            case Delta():
                self.extend(turn, message)
            case End():
                if message.attempt != turn.attempt:
                    self.faults.append(f"the end of attempt {message.attempt} in attempt {turn.attempt}")
                turn.end = message

    def extend(self, turn: SeenTurn, message: Delta) -> None:
        if (message.attempt, message.seq) != (turn.attempt, turn.next_seq):
            kind = "duplicate" if message.seq < turn.next_seq else "hole"
            wanted = (turn.attempt, turn.next_seq)
            self.faults.append(f"{kind}: attempt and seq {(message.attempt, message.seq)} instead of {wanted}")
        turn.next_seq = message.seq + message.n
        turn.text += message.text

    def picture(self, message: Snapshot) -> None:
        """The session as it stands; deltas go on from there."""
        if message.c:
            self.cursors[message.session] = message.c
        for told in message.turns:
            turn = self.turns.setdefault(told.turn, SeenTurn(told.turn, message.session, told.prompt_id))
            turn.attempt, turn.next_seq, turn.text = told.attempt, told.next_seq, told.text
            turn.snapshots += 1


def is_attachment(message: ServerMessage, session: str) -> bool:
    """Whether it answers an `attach` of the session, one way or the other."""
    return isinstance(message, Attached | Error) and message.session == session
