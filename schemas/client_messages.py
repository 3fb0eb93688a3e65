"""What a websocket client and the gateway say to each other, subprotocol `tokenwire.v1.json`.

Each message is a JSON object with a `type`; a frame holds one or an array of them. Fields that recur:

- `session`: the session's id, private to the user; `prompt_id`: the client's own name for a prompt in its session;
  `turn`: the id of the answer to it, made by the gateway
- `attempt`: which try of the turn, from 1 (0: it never started)
- `c`: a cursor, only for resuming; `seq`: a chunk's number within its attempt, only for finding holes and duplicates
- `at_us`: wall clock of the writer, microseconds since 1970
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from schemas.identifiers import UserId
from schemas.prompts import ChatMessage, CompareMode, OnBusy, OnLeave, Pace, Priority, PromptSubmitted

__all__ = [
    "SUBPROTOCOL",
    "Attach",
    "Cancel",
    "ClientMessage",
    "Detach",
    "Hello",
    "Logout",
    "OnSlow",
    "Part",
    "Pong",
    "Prompt",
    "submitted_by",
]

SUBPROTOCOL: Final = "tokenwire.v1.json"

OnSlow: TypeAlias = Literal["log", "skip"]


class Hello(msgspec.Struct, frozen=True, omit_defaults=True, tag="hello", kw_only=True):
    """First message on a socket. `resume` attaches the named sessions at their cursors at once."""

    token: str = ""
    """Access token or connect ticket, unless it came with the request."""
    resume: dict[str, str] = {}
    """Session id → cursor."""


class Attach(msgspec.Struct, frozen=True, omit_defaults=True, tag="attach", kw_only=True):
    """Follow a session (absent: a new one, whose id the answer names) from a cursor, "start" or "tail"."""

    session: str = ""
    from_: str = msgspec.field(name="from", default="tail")
    """A cursor: everything after it. `start`: everything that is kept. `tail`: from now on, with one `snapshot` of the
    answers that are under way."""
    on_slow: OnSlow = "log"
    """Far behind: be served everything from the log, or `skip` to the newest with a `gap` and a `snapshot`."""


class Detach(msgspec.Struct, frozen=True, omit_defaults=True, tag="detach", kw_only=True):
    """Stop following a session."""

    session: str


class Prompt(msgspec.Struct, frozen=True, omit_defaults=True, tag="prompt", kw_only=True):
    """Ask. `prompt_id` is the idempotency key and the cancel handle; the session is attached if it is not yet."""

    prompt_id: str
    session: str
    input: str = ""
    """What the user says; continues the session."""
    messages: tuple[ChatMessage, ...] | None = None
    """The whole conversation, in place of `input` and of the session's history."""
    model: str = ""
    """One of `welcome.models`; empty: the default one."""
    max_tokens: int | None = None
    """Longest answer, in tokens."""
    on_busy: OnBusy = "enqueue"
    """What to do while other turns of the session are open."""
    on_leave: OnLeave = "finish"
    """What to do while no device follows the session: go on, or cancel after a grace time."""
    pace: Pace = "provider"
    """Whose pace the answer has; `reader` pauses the provider while every reader is far behind."""
    priority: Priority = "interactive"
    """A `batch` prompt waits behind interactive ones."""
    models: tuple[str, ...] = ()
    """Models to ask side by side, in place of `model`."""
    compare: CompareMode = "all"
    """What becomes of their answers."""
    merge_model: str = ""
    """With `compare: merge`, who makes one answer of them; empty: the default model."""
    temperature: float | None = None
    """0 to 2; absent: the provider's own."""
    cache: bool = False
    """The answer may come from the response cache, and go into it, whatever the temperature."""
    metadata: dict[str, str] = {}
    """Texts of the client's own, kept with the prompt."""


class Part(msgspec.Struct, frozen=True, omit_defaults=True, tag="part", kw_only=True):
    """A piece of a `prompt` that is too long for one frame: its JSON text is cut up and sent in order.

    The last piece takes the place of the prompt. The frames of one prompt come without long pauses between them.
    """

    prompt_id: str
    session: str
    index: int
    """Which piece, from 0; 0 begins the prompt anew."""
    bytes: int
    """UTF-8 bytes of the whole JSON text; the same in every piece."""
    text: str
    """The piece: what the pieces say one after the other is the JSON text of the `prompt`."""


class Cancel(msgspec.Struct, frozen=True, omit_defaults=True, tag="cancel", kw_only=True):
    """End a prompt's turn, running, waiting or not yet arrived."""

    session: str
    prompt_id: str


class Logout(msgspec.Struct, frozen=True, omit_defaults=True, tag="logout", kw_only=True):
    """End every access token of the user that was issued up to now: all its connections close with 4401."""


class Pong(msgspec.Struct, frozen=True, omit_defaults=True, tag="pong", kw_only=True):
    """Answer to `ping`."""


ClientMessage: TypeAlias = Hello | Attach | Detach | Prompt | Part | Cancel | Logout | Pong


def submitted_by(message: Prompt, user: UserId) -> PromptSubmitted:
    """The prompt as it goes on the log."""
    return PromptSubmitted(
        user=user,
        session=message.session,
        prompt_id=message.prompt_id,
        input=message.input,
        messages=message.messages,
        model=message.model,
        max_tokens=message.max_tokens,
        on_busy=message.on_busy,
        on_leave=message.on_leave,
        pace=message.pace,
        priority=message.priority,
        models=message.models,
        compare=message.compare,
        merge_model=message.merge_model,
        temperature=message.temperature,
        cache=message.cache,
        metadata=message.metadata,
    )
