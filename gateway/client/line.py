"""A connection to the gateways that outlives each of its sockets.

One task reads (`connection.py`): it says hello with a cursor for each session, judges what comes, and comes back on any
end. What a program asks for is remembered until it was answered, so a prompt that was on its way when a socket broke is
sent again under the same id, which the gateway answers once.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Iterator, Sequence
from typing import Any, Final, Self

from gateway.client.answer import Answer, Hole, LineMessage
from gateway.client.asking import checked_attach, checked_prompt, checked_token
from gateway.client.connection import Connection, State, TokenSource
from gateway.client.decisions.session_follow import Adopted, Dropped, Mend, SessionFollow
from gateway.client.errors import AnswerFailed
from gateway.client.inbox import Inbox
from schemas.client_messages import Attach, Cancel, ClientMessage, Detach, Hello, Logout, Pong, Prompt
from schemas.errors import InvalidField
from schemas.gateway_messages import (
    Accepted,
    Attached,
    Compared,
    Delta,
    End,
    Error,
    Gap,
    Ping,
    Queued,
    ServerMessage,
    Snapshot,
    Start,
    Switch,
    Waiting,
    Welcome,
)
from schemas.identifiers import check_prompt_id, check_session_id

__all__ = ["Hole", "Line", "LineMessage", "TokenSource"]

RESUME_BYTES_MAX: Final = 32_768
"""Cursors in a hello; sessions beyond it attach one by one."""
RETRY_S: Final = 1.0
LEAVE_S: Final = 2.0
"""What was asked for last may take so long to be answered before the socket is closed."""
UNANSWERED_MAX: Final = 1_024
"""Prompts that may wait for the gateway's word; they bound what waits to be sent."""


class Line:
    """Made by `tokenwire.connect`; iterate over it for the messages of all sessions that are attached."""

    def __init__(self, urls: Sequence[str], token: TokenSource, inbox_bytes_max: int) -> None:
        self.connection = Connection(urls, token, self)
        self.inbox: Inbox[LineMessage] = Inbox(inbox_bytes_max)
        self.sessions: dict[str, SessionFollow] = {}
        self.prompts: dict[str, Prompt] = {}
        self.cancels: dict[str, Cancel] = {}
        self.answers: dict[str, Answer] = {}
        """Those that are being read, by prompt."""
        self.settled = asyncio.Event()
        """Something that was asked for has had its answer."""
        self.resumed: frozenset[str] = frozenset()
        """Sessions whose cursors the last hello carried."""

    @property
    def state(self) -> State:
        """Whether it is live, and what it is about if not."""
        return self.connection.state

    @property
    def welcome(self) -> Welcome | None:
        """What the gateway said first; None before."""
        return self.connection.welcome

    @property
    def connections(self) -> int:
        """How often the line was connected."""
        return self.connection.count

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
        self.connection.token = checked_token(token)
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
        return await self.inbox.get()

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

    # ---- What is said

    def send(self, message: ClientMessage) -> None:
        """See `Connection.send`."""
        self.connection.send(message)

    def hello(self, token: str) -> Hello:
        """See `Talk.hello`: the token, and the cursors that fit."""
        resume: dict[str, str] = {}
        size = 0
        for session, follow in self.sessions.items():
            follow.asked()
            size += len(session) + len(follow.cursor) + 8
            if follow.cursor and size <= RESUME_BYTES_MAX:
                resume[session] = follow.cursor
        self.resumed = frozenset(resume)
        return Hello(token=token, resume=resume)

    def asked_again(self) -> Iterator[ClientMessage]:
        """See `Talk.asked_again`."""
        for session, follow in self.sessions.items():
            if session not in self.resumed:
                yield Attach(session=session, from_=follow.position)
        yield from self.prompts.values()
        yield from self.cancels.values()

    async def frame_refused(self) -> None:
        """See `Talk.frame_refused`: the same prompts would only end the next connection too."""
        for prompt in list(self.prompts.values()):
            message = "the gateway closed the connection on a frame that is too large; shorten the prompt"
            error = Error(code="prompt_too_large", message=message, session=prompt.session, prompt_id=prompt.prompt_id)
            self.failed(error)
            await self.tell(error, 0)

    # ---- What comes

    async def take(self, message: ServerMessage, size: int) -> None:
        """See `Talk.take`: it is passed on where it is the program's business."""
        match message:
            case Ping():
                self.pinged(message)
                return
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
        self, message: Attached | Gap | Snapshot | Waiting | Queued | Start | Switch | Delta | End | Compared, size: int
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
        if isinstance(message, End) and message.try_offset >= 0:
            self.cancels.pop(message.prompt_id, None)  # sent again on another connection, it would end the next sending
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
