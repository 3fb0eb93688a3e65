"""The sockets of a line, one after the other: each connects, says hello, is read and written until it ends.

On any end it comes back as the plan says (`decisions/reconnect_plan.py`), at the next address. What is said over them,
and what has to be said again over the next one, is its line's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, Literal, Protocol, TypeAlias

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from gateway.client.asking import checked_token, fitting
from gateway.client.decisions.reconnect_plan import StayAway, plan_reconnect
from gateway.client.dialing import LOST_CODE, dial, refusal_of
from gateway.client.errors import LineClosed
from schemas.client_messages import ClientMessage, Hello
from schemas.close_codes import BAD_TOKEN, OVERSIZE
from schemas.codec import decode_server_messages, encode
from schemas.errors import SchemaError
from schemas.gateway_messages import Disconnect, Drain, ServerMessage, Welcome

__all__ = ["Connection", "State", "Talk", "TokenSource"]

CONNECT_S: Final = 10.0
"""From the first byte to `welcome`."""
STABLE_S: Final = 10.0
"""A connection that held for so long was none of the failures in a row."""
SILENCE_FACTOR: Final = 1.5
"""A connection that says nothing for so many of the gateway's own ping periods is dead."""

TokenSource: TypeAlias = str | Callable[[], Awaitable[str]]
"""An access token, or what gets a token or a connect ticket for each new connection."""
State: TypeAlias = Literal["connecting", "live", "reconnecting", "stopped"]


class Talk(Protocol):
    """What is said over the sockets."""

    def hello(self, token: str) -> Hello:
        """The first message."""

    def asked_again(self) -> Iterable[ClientMessage]:
        """After a welcome: all that was asked for and has had no answer."""

    async def take(self, message: ServerMessage, size: int) -> None:
        """Deal with a message. The socket is not read meanwhile."""

    async def frame_refused(self) -> None:
        """A frame was too large for the gateway."""

    def end(self, fault: Exception) -> None:
        """Nothing more will come, and why."""


class Connection:
    """The websocket that a line is carried over."""

    def __init__(self, urls: Sequence[str], token: TokenSource, talk: Talk) -> None:
        self.token = token
        """For the next socket."""
        self.state: State = "connecting"
        self.welcome: Welcome | None = None
        self.count = 0
        """How often it was connected."""
        self.welcomed = asyncio.Event()
        """Set by the first welcome, and by the end."""
        self._urls = urls
        self._talk = talk
        self._outgoing: asyncio.Queue[ClientMessage] = asyncio.Queue()
        self._words: Disconnect | None = None
        self._slot_at_s = 0.0

    def send(self, message: ClientMessage) -> None:
        """Send it now if the line is live; what must not be lost is sent at the next welcome anyway."""
        if self.state == "live":
            self._outgoing.put_nowait(message)

    async def run(self) -> None:
        """Connect, serve and come back until told to stay away.

        However it ends, whoever reads the line hears why: also of a fault of ours, and of a token function's own.
        Cancellation: the socket is closed.
        """
        ending: Exception = LineClosed(LOST_CODE, "the task that serves the line was cancelled")
        try:
            ending = await self.come_back_until_told()
        except Exception as error:  # the root of the line
            ending = error
            raise
        finally:
            self.state = "stopped"
            self._talk.end(ending)
            self.welcomed.set()

    async def come_back_until_told(self) -> LineClosed:
        """Connect, serve and come back; the gateway's last words."""
        failures = 0
        for address in itertools.cycle(self._urls):
            began_s = time.monotonic()
            self._words, self._slot_at_s = None, 0.0
            count = self.count
            code, reason = await self.served(address)
            if code == BAD_TOKEN.number and callable(self.token) and self.count > count:
                self._words, code = None, LOST_CODE  # it was good for a while: a new one may be
            held = self.state == "live" and time.monotonic() - began_s >= STABLE_S
            self.state = "reconnecting"
            failures = 0 if held else failures
            plan = plan_reconnect(
                code,
                self._words,
                failures=failures,
                draw=random.random(),  # spreads those who come back
                slot_in_s=max(0.0, self._slot_at_s - time.monotonic()),
            )
            if isinstance(plan, StayAway):
                said: Disconnect | None = self._words
                return LineClosed(code, reason) if said is None else LineClosed(said.code, said.reason)
            if code == OVERSIZE.number:
                await self._talk.frame_refused()
            failures += 1
            await asyncio.sleep(plan.delay_s)
        raise AssertionError("there is an address")

    async def served(self, address: str) -> tuple[int, str]:
        """One socket, from its first byte to its last: the close code and the reason."""
        try:
            async with asyncio.timeout(CONNECT_S) as opening:
                token = checked_token(await self.token()) if callable(self.token) else self.token
                async with dial(address) as socket:
                    await socket.send(encode(self._talk.hello(token)), text=True)
                    await self.converse(socket, opening)
                    return socket.close_code or LOST_CODE, socket.close_reason or ""
        except ConnectionClosed as closed:
            received = closed.rcvd
            return (LOST_CODE, "") if received is None else (received.code, received.reason)
        except InvalidStatus as refused:
            code, reason, self._words = refusal_of(refused)
            return code, reason
        except (OSError, TimeoutError, InvalidHandshake, SchemaError, msgspec.DecodeError):
            return LOST_CODE, ""

    async def converse(self, socket: ClientConnection, opening: asyncio.Timeout) -> None:
        """Read until the end, with a task beside it that writes.

        Raises ConnectionClosed, SchemaError, TimeoutError, and whatever the writing one has failed with, which ends the
        reading as well: a line that can only listen would be waited on for ever.
        """
        writing: asyncio.Task[None] | None = None
        try:
            while True:
                silence_s = None
                if self.welcome is not None and writing is not None and self.welcome.ping_s > 0:
                    silence_s = SILENCE_FACTOR * (self.welcome.ping_s + self.welcome.pong_s)
                async with asyncio.timeout(silence_s):
                    frame = await socket.recv()
                messages = decode_server_messages(frame)
                share = len(frame) // len(messages) if messages else 0
                for message in messages:
                    if isinstance(message, Disconnect):
                        self._words = message
                        continue
                    if isinstance(message, Welcome):
                        self.welcome = message
                    elif isinstance(message, Drain):
                        self._slot_at_s = time.monotonic() + message.reconnect_in_ms / 1_000
                    await self._talk.take(message, share)
                    if isinstance(message, Welcome) and writing is None:
                        opening.reschedule(None)
                        self.go_live()
                        writing = asyncio.create_task(self.write(socket), name="tokenwire-line-writer")
                        writing.add_done_callback(lambda _: socket.transport.abort())
        finally:
            if writing is not None:
                writing.cancel()
                (fault,) = await asyncio.gather(writing, return_exceptions=True)
                if isinstance(fault, Exception):
                    raise fault

    async def write(self, socket: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                message = await self._outgoing.get()
                for part in fitting(message, self.welcome):
                    await socket.send(encode(part), text=True)

    def go_live(self) -> None:
        """Welcome: ask again for all that has had no answer."""
        self._outgoing = asyncio.Queue()
        self.state = "live"
        self.count += 1
        for message in self._talk.asked_again():
            self.send(message)
        self.welcomed.set()
