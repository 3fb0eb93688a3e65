"""A connection to the gateways that outlives each of its sockets.

One task reads: it connects, says hello with a cursor for each session, judges what comes, and on any end comes back
as the plan says, at the next address. What a program asks for is remembered until it was answered, so a prompt that was
on its way when a socket broke is sent again under the same id, which the gateway answers once.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Literal, Self, TypeAlias

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from gateway.client.answer import Answer, Hole, LineMessage
from gateway.client.asking import checked_attach, checked_prompt, checked_token, fitting
from gateway.client.dialing import LOST_CODE, dial, refusal_of
from gateway.client.errors import AnswerFailed, LineClosed
from gateway.client.inbox import Inbox
from gateway.decisions.reconnect_plan import StayAway, plan_reconnect
from gateway.decisions.session_follow import Adopted, Dropped, Mend, SessionFollow
from schemas.client_messages import (
    Accepted,
    Attach,
    Attached,
    Cancel,
    ClientMessage,
    Compared,
    Delta,
    Detach,
    Disconnect,
    Drain,
    End,
    Error,
    Gap,
    Hello,
    Logout,
    Ping,
    Pong,
    Prompt,
    Queued,
    ServerMessage,
    Snapshot,
    Start,
    Switch,
    Waiting,
    Welcome,
)
from schemas.codec import decode_server_messages, encode
from schemas.errors import InvalidField, SchemaError
from schemas.identifiers import check_prompt_id, check_session_id

__all__ = ["Hole", "Line", "LineMessage", "TokenSource"]

CONNECT_S: Final = 10.0
"""From the first byte to `welcome`."""
STABLE_S: Final = 10.0
"""A connection that held for so long was none of the failures in a row."""
SILENCE_FACTOR: Final = 1.5
"""A connection that says nothing for so many of the gateway's own ping periods is dead."""
RESUME_BYTES_MAX: Final = 32_768
"""Cursors in a hello; sessions beyond it attach one by one."""
TOO_LARGE: Final = 1009
TOKEN_REFUSED: Final = 4401
RETRY_S: Final = 1.0
LEAVE_S: Final = 2.0
"""What was asked for last may take so long to be answered before the socket is closed."""
UNANSWERED_MAX: Final = 1_024
"""Prompts that may wait for the gateway's word; they bound what waits to be sent."""


TokenSource: TypeAlias = str | Callable[[], Awaitable[str]]
"""An access token, or what gets a token or a connect ticket for each new connection."""
State: TypeAlias = Literal["connecting", "live", "reconnecting", "stopped"]


class Line:
    """Made by `tokenwire.connect`; iterate over it for the messages of all sessions that are attached."""

    def __init__(self, urls: Sequence[str], token: TokenSource, inbox_bytes_max: int) -> None:
        self.urls = urls
        self.token = token
        self.inbox: Inbox[LineMessage] = Inbox(inbox_bytes_max)
        self.state: State = "connecting"
        self.welcome: Welcome | None = None
        self.connections = 0
        """How often the line was connected."""
        self.sessions: dict[str, SessionFollow] = {}
        self.prompts: dict[str, Prompt] = {}
        self.cancels: dict[str, Cancel] = {}
        self.outgoing: asyncio.Queue[ClientMessage] = asyncio.Queue()
        self.words: Disconnect | None = None
        self.slot_at_s = 0.0
        self.answers: dict[str, Answer] = {}
        """Those that are being read, by prompt."""
        self.settled = asyncio.Event()
        """Something that was asked for has had its answer."""
        self.welcomed = asyncio.Event()
        self.resumed: frozenset[str] = frozenset()
        """Sessions whose cursors the last hello carried."""

    # ---- What a program asks for

    def attach(self, session: str, *, from_: str = "tail") -> None:
        """Follow a session from a cursor, "start" or "tail" (what is new, and answers under way).

        Attaching one that is followed already changes nothing. Answered by `Attached` among the messages.
        Raises InvalidField.
        """
        if session not in self.sessions:
            attach = checked_attach(session, from_)
            self.sessions[session] = SessionFollow(from_)
            self.send(attach)

    def detach(self, session: str) -> None:
        """Stop following a session and forget its position."""
        if self.sessions.pop(session, None) is not None:
            self.send(Detach(session=session))

    def cursor(self, session: str) -> str:
        """Where this client stands in a session, for another one to go on from; empty while unknown."""
        follow = self.sessions.get(session)
        return "" if follow is None else follow.cursor

    def prompt(self, text: str = "", *, session: str, prompt_id: str = "", **options: Any) -> str:
        """Ask; the prompt's id, also its handle for `cancel`. It is sent until the gateway has answered it.

        `options`: fields of the wire's `prompt`, such as model, models, messages, max_tokens, on_busy. Answered by
        `Accepted` and then by the session's own messages, or by `Error` with the same `prompt_id`.
        Raises, before anything is sent: InvalidField naming the field at fault, LineClosed once the line has ended,
        AnswerFailed while too many wait for their answer.
        """
        prompt_id = prompt_id or f"p-{secrets.token_hex(8)}"
        self.submit(checked_prompt(text, session=session, prompt_id=prompt_id, options=options, welcome=self.welcome))
        return prompt_id

    def submit(self, asked: Prompt) -> None:
        """Send a prompt that was checked, until it is answered. Raises LineClosed, AnswerFailed."""
        if self.fault is not None:
            raise self.fault
        if len(self.prompts) >= UNANSWERED_MAX:
            raise AnswerFailed("busy", f"{UNANSWERED_MAX} prompts wait for their answer; read the line", RETRY_S)
        self.attach(asked.session, from_="start")
        self.prompts[asked.prompt_id] = asked
        self.send(asked)
        self.make_room()

    def cancel(self, session: str, prompt_id: str) -> None:
        """End a prompt's turn, whether it runs, waits or has not arrived yet. Raises InvalidField."""
        check_session_id(session)
        check_prompt_id(prompt_id)
        self.cancels[prompt_id] = Cancel(session=session, prompt_id=prompt_id)
        self.send(self.cancels[prompt_id])

    def refresh(self, token: str) -> None:
        """Use another token from now on, and tell the gateway, so that the line outlives the old one.

        Raises InvalidField.
        """
        self.token = checked_token(token)
        self.send(Hello(token=token))

    def log_out(self) -> None:
        """End every token of this user that was issued up to now, this one included: the line ends with 4401."""
        self.send(Logout())

    def ask(self, text: str = "", *, session: str = "", cancel_on_exit: bool = False, **options: Any) -> Answer:
        """Ask one model and read its answer: `async for piece in line.ask(…)`, or `await line.ask(…)` for all of it.

        `options` as for `prompt`, but for `models`; a session left out is a new one. Any number may be read at once,
        and the line beside them: it is told what no answer takes. Raises InvalidField at once; reading raises
        AnswerFailed, LineClosed. Leaving early lets the turn go on, or cancels it with `cancel_on_exit`.
        """
        session = session or f"s-{secrets.token_hex(8)}"
        prompt_id = options.pop("prompt_id", None) or f"p-{secrets.token_hex(8)}"
        if options.get("models") is not None:
            raise InvalidField("models", "asks several models", "ask one after the other, or use prompt")
        asked = checked_prompt(text, session=session, prompt_id=prompt_id, options=options, welcome=self.welcome)
        follow = self.sessions.get(session)
        if prompt_id in self.answers or (follow is not None and follow.is_over(prompt_id)):
            raise InvalidField("prompt_id", "was asked on this line already", "leave it out for another question")
        return Answer(self, asked, cancel_on_exit=cancel_on_exit, unread_chars_max=self.inbox.bytes_max)

    def prompt_of(self, message: Queued | Start | Delta | End | Switch | Waiting) -> str:
        """The id of the prompt that a message's turn answers; empty where its beginning was not seen."""
        follow = self.sessions.get(message.session)
        return "" if follow is None else follow.prompt_of(message.turn)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> LineMessage:
        """The next message. Raises LineClosed when the line has ended for good.

        Cancellation: nothing is lost.
        """
        return await self.inbox.take()

    @property
    def fault(self) -> Exception | None:
        """Why the line has ended; None while it has not."""
        return self.inbox.fault

    def end(self, fault: Exception) -> None:
        """Nothing more will come, and whoever reads hears why. What was told first stands."""
        self.inbox.end(fault)
        self.settled.set()
        for answer in self.answers.values():
            answer.wake()

    async def leave(self, fault: Exception) -> None:
        """The program is done with the line: what it asked for is seen to the gateway, for LEAVE_S at the most."""
        for answer in list(self.answers.values()):
            answer.leave()
        self.end(fault)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                while self.state == "live" and (self.prompts or self.cancels):
                    self.settled.clear()
                    await self.settled.wait()

    # ---- The connection

    def send(self, message: ClientMessage) -> None:
        """Send it now if the line is live; what must not be lost is sent at the next welcome anyway."""
        if self.state == "live":
            self.outgoing.put_nowait(message)

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
            self.end(ending)
            self.welcomed.set()

    async def come_back_until_told(self) -> LineClosed:
        """Connect, serve and come back; the gateway's last words."""
        failures = 0
        for address in itertools.cycle(self.urls):
            began_s = time.monotonic()
            self.words, self.slot_at_s = None, 0.0
            connections = self.connections
            code, reason = await self.served(address)
            if code == TOKEN_REFUSED and callable(self.token) and self.connections > connections:
                self.words, code = None, LOST_CODE  # it was good for a while: a new one may be
            held = self.state == "live" and time.monotonic() - began_s >= STABLE_S
            self.state = "reconnecting"
            failures = 0 if held else failures
            plan = plan_reconnect(
                code,
                self.words,
                failures=failures,
                draw=random.random(),  # spreads those who come back
                slot_in_s=max(0.0, self.slot_at_s - time.monotonic()),
            )
            if isinstance(plan, StayAway):
                said: Disconnect | None = self.words
                return LineClosed(code, reason) if said is None else LineClosed(said.code, said.reason)
            if code == TOO_LARGE:
                await self.refuse_waiting()
            failures += 1
            await asyncio.sleep(plan.delay_s)
        raise AssertionError("there is an address")

    async def refuse_waiting(self) -> None:
        """A frame was too large for the gateway: the same prompts would only end the next connection too."""
        for prompt in list(self.prompts.values()):
            message = "the gateway closed the connection on a frame that is too large; shorten the prompt"
            error = Error(code="prompt_too_large", message=message, session=prompt.session, prompt_id=prompt.prompt_id)
            self.failed(error)
            await self.tell(error, 0)

    async def served(self, address: str) -> tuple[int, str]:
        """One socket, from its first byte to its last: the close code and the reason."""
        try:
            async with asyncio.timeout(CONNECT_S) as opening:
                token = checked_token(await self.token()) if callable(self.token) else self.token
                async with dial(address) as socket:
                    await socket.send(encode(self.hello(token)), text=True)
                    await self.converse(socket, opening)
                    return socket.close_code or LOST_CODE, socket.close_reason or ""
        except ConnectionClosed as closed:
            received = closed.rcvd
            return (LOST_CODE, "") if received is None else (received.code, received.reason)
        except InvalidStatus as refused:
            code, reason, self.words = refusal_of(refused)
            return code, reason
        except (OSError, TimeoutError, InvalidHandshake, SchemaError, msgspec.DecodeError):
            return LOST_CODE, ""

    def hello(self, token: str) -> Hello:
        """The first message: the token, and the cursors that fit."""
        resume: dict[str, str] = {}
        size = 0
        for session, follow in self.sessions.items():
            follow.asked()
            size += len(session) + len(follow.cursor) + 8
            if follow.cursor and size <= RESUME_BYTES_MAX:
                resume[session] = follow.cursor
        self.resumed = frozenset(resume)
        return Hello(token=token, resume=resume)

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
                    await self.take(message, share)
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
                message = await self.outgoing.get()
                for part in fitting(message, self.welcome):
                    await socket.send(encode(part), text=True)

    def go_live(self) -> None:
        """Welcome: ask again for all that has had no answer."""
        self.outgoing = asyncio.Queue()
        self.state = "live"
        self.connections += 1
        for session, follow in self.sessions.items():
            if session not in self.resumed:
                self.send(Attach(session=session, from_=follow.position))
        for prompt in self.prompts.values():
            self.send(prompt)
        for cancel in self.cancels.values():
            self.send(cancel)
        self.welcomed.set()

    # ---- What comes

    async def take(self, message: ServerMessage, size: int) -> None:
        """Deal with one message, and pass it on where it is the program's business."""
        match message:
            case Welcome():
                self.welcome = message
            case Ping():
                self.pinged(message)
                return
            case Disconnect():
                self.words = message
                return
            case Drain():
                self.slot_at_s = time.monotonic() + message.reconnect_in_ms / 1_000
            case Accepted():
                self.prompts.pop(message.prompt_id, None)
                self.settled.set()
            case Error():
                if self.failed(message):
                    return
            case (
                Attached()
                | Gap()
                | Snapshot()
                | Waiting()
                | Queued()
                | Start()
                | Switch()
                | Delta()
                | End()
                | Compared()
            ):
                if not await self.take_of_session(message, size):
                    return
            case _:
                pass
        await self.tell(message, size)

    async def tell(self, message: LineMessage, size: int) -> None:
        """To the answer that it belongs to; else to whoever iterates, and a picture or a hole to all of its session."""
        taken = False
        for answer in list(self.answers.values()):
            if answer.session == getattr(message, "session", ""):
                taken = await answer.take(message) or taken
        if not taken:
            self.make_room()
            await self.inbox.put(message, size)

    def make_room(self) -> None:
        """While an answer is read, what nobody iterates for does not stop it: it makes way, and a hole says so."""
        if self.answers and self.inbox.is_full():
            sessions = {getattr(message, "session", "") for message in self.inbox.held()} - {""}
            self.inbox.give_up([Hole(session) for session in sorted(sessions)])

    async def take_of_session(
        self,
        message: Attached | Gap | Snapshot | Waiting | Queued | Start | Switch | Delta | End | Compared,
        size: int,
    ) -> bool:
        """Whether to pass a session's message on."""
        follow = self.sessions.get(message.session)
        if follow is None:
            return False
        match message:
            case Attached():
                follow.attached(message)
                return True
            case Gap():
                follow.gap(message.reason)
                return not follow.awaiting
            case Snapshot():
                taken = follow.take_snapshot(message)
                for turn in message.turns:
                    self.settle(follow, turn.prompt_id)
                return taken
            case Waiting():
                return follow.take_waiting(message)
            case _:
                verdict = follow.take(message)
        if isinstance(verdict, Mend):
            self.attach_again(message.session, follow, verdict.from_)
        if isinstance(verdict, Mend | Dropped):
            return False
        if isinstance(verdict, Adopted):
            await self.tell(Hole(message.session), size)
        if isinstance(message, Queued | End):
            self.settle(follow, follow.prompt_of(message.turn))
        return True

    def settle(self, follow: SessionFollow, prompt_id: str) -> None:
        """The log knows the prompt: nothing of it needs sending again."""
        self.prompts.pop(prompt_id, None)
        if follow.is_over(prompt_id):
            self.cancels.pop(prompt_id, None)
        self.settled.set()

    def pinged(self, ping: Ping) -> None:
        self.send(Pong())
        for session, head in ping.heads.items():
            follow = self.sessions.get(session)
            from_ = None if follow is None else follow.head_seen(head)
            if follow is not None and from_ is not None:
                self.attach_again(session, follow, from_)

    def attach_again(self, session: str, follow: SessionFollow, from_: str) -> None:
        follow.asked()
        self.send(Attach(session=session, from_=from_))

    def failed(self, error: Error) -> bool:
        """Mend what an error says, if that can be done; True: the program need not hear of it."""
        self.prompts.pop(error.prompt_id, None)
        self.cancels.pop(error.prompt_id, None)
        self.settled.set()
        follow = self.sessions.get(error.session)
        if follow is None or not follow.awaiting or error.prompt_id:
            return False
        if not error.temporary:
            from_ = follow.refused()
            if from_ is not None:
                self.attach_again(error.session, follow, from_)
            return from_ is not None
        loop = asyncio.get_running_loop()
        loop.call_later(error.retry_after_s or RETRY_S, self.attach_again, error.session, follow, follow.position)
        return False
