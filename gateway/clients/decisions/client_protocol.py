"""What a client may say, and when: frames in, intents out. No socket, no clock.

    AWAITING_HELLO ──hello──► READY ──close──► CLOSING
          └────────────close───────────────────►┘

A frame is one message or an array of them; each message stands alone, so a bad one costs itself and leaves its
neighbours and the connection's other sessions unharmed. Every refusal is a `Fault` that names what is wrong and what
to do. Faults of form (not JSON, wrong shape, no hello first) are strikes; the third closes with 4400, since a client
that cannot speak the protocol will not learn it here. Faults of content (an empty prompt, a strange session id, a
type of a newer protocol) are answered for as long as the message rate allows, and so is a message that cannot be taken
but says which prompt it is: whoever sent it is told under that id, so that it is forgotten and not sent again.

`hello` on a READY connection refreshes the token and may attach more sessions. Who the token belongs to is decided
by the shell, which alone can verify it; `authenticated` moves the machine on.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import msgspec

from gateway.clients.decisions.client_frames import decode_one, read_leniently, shown, split, split_leniently
from gateway.clients.decisions.prompt_assembly import PartKept, PartsRefused, PartsRoom, PromptParts
from schemas.client_messages import (
    Attach,
    Cancel,
    ClientMessage,
    Detach,
    Hello,
    Logout,
    OnSlow,
    Part,
    Pong,
    Prompt,
    submitted_by,
)
from schemas.decode_errors import malformed
from schemas.errors import InvalidField, MalformedRecord, UnknownTag
from schemas.identifiers import UserId, check_prompt_id, check_session_id
from schemas.prompt_limits import PROMPT_RECORD_BYTES_MAX, PromptLimits, check_prompt
from schemas.prompts import PromptCancelled, PromptSubmitted

__all__ = [
    "MESSAGES_PER_FRAME_MAX",
    "STRIKES_MAX",
    "TRANSITIONS",
    "Authenticate",
    "CancelPrompt",
    "ClientProtocol",
    "Fault",
    "FollowSession",
    "HeardPong",
    "HeldPart",
    "Intent",
    "LogOut",
    "ProtocolEvent",
    "ProtocolState",
    "SubmitPrompt",
    "UnfollowSession",
]

STRIKES_MAX: Final = 3
MESSAGES_PER_FRAME_MAX: Final = 1_024
PROMPT_FIELDS_BYTES_MAX: Final = 65_536
"""Of a prompt's JSON text, for everything but what it asks."""

ANYBODY: Final = UserId("anybody")
"""In the place of a user who does not matter to the check."""


class ProtocolState(enum.Enum):
    """How far a connection has come."""

    AWAITING_HELLO = "awaiting_hello"
    READY = "ready"
    CLOSING = "closing"


class ProtocolEvent(enum.Enum):
    """What moves a connection from one state to another."""

    AUTHENTICATED = "authenticated"
    CLOSED = "closed"


TRANSITIONS: Final[dict[tuple[ProtocolState, ProtocolEvent], ProtocolState]] = {
    (ProtocolState.AWAITING_HELLO, ProtocolEvent.AUTHENTICATED): ProtocolState.READY,
    (ProtocolState.READY, ProtocolEvent.AUTHENTICATED): ProtocolState.READY,
    (ProtocolState.AWAITING_HELLO, ProtocolEvent.CLOSED): ProtocolState.CLOSING,
    (ProtocolState.READY, ProtocolEvent.CLOSED): ProtocolState.CLOSING,
    (ProtocolState.CLOSING, ProtocolEvent.CLOSED): ProtocolState.CLOSING,
}


@dataclass(frozen=True, slots=True)
class Authenticate:
    """Verify the token (empty: the one of the header), then follow the sessions at their cursors."""

    token: str
    resume: dict[str, str]


@dataclass(frozen=True, slots=True)
class FollowSession:
    """Attach; an empty session asks for a new one."""

    session: str
    from_: str
    on_slow: OnSlow = "log"


@dataclass(frozen=True, slots=True)
class UnfollowSession:
    """Detach."""

    session: str


@dataclass(frozen=True, slots=True)
class SubmitPrompt:
    """Publish; the prompt is within the limits."""

    session: str
    prompt: PromptSubmitted
    parts: PromptParts | None = None
    """Where the bytes of its parts are counted; they are to be released once it is published."""
    parts_bytes: int = 0


@dataclass(frozen=True, slots=True)
class CancelPrompt:
    """Publish the wish."""

    session: str
    command: PromptCancelled


@dataclass(frozen=True, slots=True)
class LogOut:
    """End the user's tokens."""


@dataclass(frozen=True, slots=True)
class HeardPong:
    """The client is alive."""


@dataclass(frozen=True, slots=True)
class HeldPart:
    """A part of a long prompt was put to the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A message that is not acted on: what to tell the client, and whether its strikes are used up."""

    code: str
    message: str
    field: str = ""
    session: str = ""
    prompt_id: str = ""
    closes: bool = False
    temporary: bool = False
    retry_after_s: float | None = None


Intent: TypeAlias = (
    Authenticate | FollowSession | UnfollowSession | SubmitPrompt | CancelPrompt | LogOut | HeardPong | HeldPart | Fault
)


class ClientProtocol:
    """One connection's side of the conversation."""

    __slots__ = ("_limits", "parts", "room", "state", "strikes", "user")

    def __init__(self, limits: PromptLimits, room: PartsRoom) -> None:
        self._limits = limits
        self.room = room
        self.parts: PromptParts | None = None
        """Long prompts on their way; None until the first part comes."""
        self.state = ProtocolState.AWAITING_HELLO
        self.user: UserId | None = None
        self.strikes = 0

    def is_closing(self) -> bool:
        """Whether nothing is read any more."""
        return self.state is ProtocolState.CLOSING

    def receive(self, frame: str | bytes) -> Iterator[Intent]:
        """What the messages of a frame ask for, in order.

        Each intent must be dealt with before the next is asked for: a `hello` decides how its neighbours are read.
        A closing connection asks for nothing any more.
        """
        if self.is_closing():
            return
        if not isinstance(frame, str):
            yield self.strike("malformed", "the frame is binary; send JSON in text frames")
            return
        try:
            elements = split(frame)
        except MalformedRecord as error:
            elements = split_leniently(frame)
            if not elements:
                yield self.strike(error.code, f"the frame {error}; send a JSON object with a type, or an array of them")
                return
        if len(elements) > MESSAGES_PER_FRAME_MAX:
            yield self.strike("malformed", f"the frame holds more than {MESSAGES_PER_FRAME_MAX} messages; send fewer")
            return
        for element in elements:
            if self.is_closing():
                return
            yield self.receive_one(element)

    def follow(self, session: str, from_: str) -> Intent:
        """What one entry of a hello's `resume` asks for."""
        try:
            return FollowSession(check_session_id(session), from_)
        except InvalidField as error:
            return Fault(code=error.code, message=str(error), field="resume", session=shown(session))

    def authenticated(self, user: UserId) -> None:
        """The token was good and belongs to `user`."""
        self.user = user
        self.move(ProtocolEvent.AUTHENTICATED)

    def closed(self) -> None:
        """The connection is closing: whatever arrives from now on is not read."""
        self.move(ProtocolEvent.CLOSED)

    def move(self, event: ProtocolEvent) -> None:
        self.state = TRANSITIONS[(self.state, event)]

    def receive_one(self, element: bytes | str) -> Intent:
        try:
            message = decode_one(element)
        except MalformedRecord as error:
            return self.unreadable(element, error)
        if isinstance(message, Hello):
            return Authenticate(message.token, message.resume)
        if self.user is None:
            return self.strike("hello_expected", "the first message must be hello; send it with your token first")
        try:
            return self.intent_of(message, self.user)
        except InvalidField as error:
            return refused(error, message)

    def unreadable(self, element: bytes | str, error: MalformedRecord) -> Fault:
        """A message that cannot be decoded, as far as it can be read: with the ids of its prompt, where it has them."""
        value = read_leniently(element)
        session, prompt_id = shown(value.get("session")), shown(value.get("prompt_id"))
        if isinstance(error, UnknownTag):
            return Fault(code=error.code, message=str(error), field="type", session=session, prompt_id=prompt_id)
        message, field = str(error) if error.field else f"the message {error}", error.field
        if not prompt_id or self.user is None:
            return self.strike(error.code, message, field=field)
        if not field:
            field, message = self.flaw_of(value, message)
        return Fault(code=error.code, message=message, field=field, session=session, prompt_id=prompt_id)

    def flaw_of(self, value: Mapping[str, object], message: str) -> tuple[str, str]:
        """Which field keeps a prompt from being JSON (half a surrogate pair, NaN), and why; else the message itself."""
        try:
            prompt = msgspec.convert(value, Prompt)
            check_prompt(submitted_by(prompt, ANYBODY), self._limits)
        except InvalidField as error:
            return error.field, str(error)
        except msgspec.ValidationError as error:
            flaw = malformed(error, Prompt, b"")
            return flaw.field, str(flaw)
        except RecursionError:
            pass
        return "", message

    def intent_of(self, message: Attach | Detach | Prompt | Part | Cancel | Logout | Pong, user: UserId) -> Intent:
        match message:
            case Attach():
                session = check_session_id(message.session) if message.session else ""
                return FollowSession(session, message.from_, message.on_slow)
            case Detach():
                return UnfollowSession(check_session_id(message.session))
            case Prompt():
                prompt = submitted_by(message, user)
                check_prompt(prompt, self._limits)
                return SubmitPrompt(message.session, prompt)
            case Part():
                check_session_id(message.session)
                check_prompt_id(message.prompt_id)
                return self.take_part(message, user)
            case Cancel():
                session, prompt_id = check_session_id(message.session), check_prompt_id(message.prompt_id)
                return CancelPrompt(session, PromptCancelled(user=user, session=session, prompt_id=prompt_id))
            case Logout():
                return LogOut()
            case Pong():
                return HeardPong()

    def take_part(self, part: Part, user: UserId) -> Intent:
        """The prompt if this part was its last one. Raises InvalidField for a whole prompt outside its limits."""
        if self.parts is None:
            self.parts = PromptParts(parts_bytes_max(self._limits), self.room)
        verdict = self.parts.take(part)
        if isinstance(verdict, PartKept):
            return HeldPart()
        if isinstance(verdict, PartsRefused):
            return Fault(
                code=verdict.code,
                message=verdict.message,
                field=verdict.field,
                session=part.session,
                prompt_id=part.prompt_id,
                temporary=verdict.temporary,
                retry_after_s=verdict.retry_after_s,
            )
        try:
            intent = self.intent_of(prompt_in(verdict.text, part), user)
        except InvalidField:
            self.parts.release(len(verdict.text))
            raise
        assert isinstance(intent, SubmitPrompt)
        return replace(intent, parts=self.parts, parts_bytes=len(verdict.text))

    def missing_parts(self, now_s: float) -> Iterator[Fault]:
        """The prompts whose parts have stopped coming; to be asked now and then."""
        for missing in self.parts.tick(now_s) if self.parts is not None else ():
            yield Fault(
                code="part_missing",
                message=f"{missing.received} of {missing.expected} bytes have come; send the whole prompt again",
                field="text",
                session=missing.session,
                prompt_id=missing.prompt_id,
            )

    def forget_parts(self) -> None:
        """The connection has ended."""
        if self.parts is not None:
            self.parts.forget()

    def strike(self, code: str, message: str, *, field: str = "") -> Fault:
        self.strikes += 1
        return Fault(code=code, message=message, field=field, closes=self.strikes >= STRIKES_MAX)


def parts_bytes_max(limits: PromptLimits) -> int:
    """JSON text that a prompt within its limits may have: text takes twice its size where all of it is escaped."""
    return min(PROMPT_RECORD_BYTES_MAX, 2 * limits.prompt_bytes_max + PROMPT_FIELDS_BYTES_MAX)


def prompt_in(text: bytes, part: Part) -> Prompt:
    """The prompt whose parts these were. Raises InvalidField."""
    try:
        message = decode_one(text)
    except (MalformedRecord, UnknownTag) as error:
        flaw = f"its {error}" if error.field else f"it {error}"
        raise InvalidField("text", "is no prompt once put together", flaw) from None
    if not isinstance(message, Prompt):
        raise InvalidField("text", "is no prompt once put together", "send other messages whole")
    if (message.session, message.prompt_id) != (part.session, part.prompt_id):
        raise InvalidField("text", "names another prompt_id or session than its parts", "make them the same")
    return message


def refused(error: InvalidField, message: ClientMessage) -> Fault:
    return Fault(
        code=error.code,
        message=str(error),
        field=error.field,
        session=shown(getattr(message, "session", "")),
        prompt_id=shown(getattr(message, "prompt_id", "")),
    )
