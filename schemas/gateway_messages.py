"""What a gateway says to a websocket client; the fields that recur are explained in `client_messages.py`."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from schemas.prompts import CompareMode
from schemas.session_events import EndReason, StartCause, TurnError, Usage, WaitsFor

__all__ = [
    "Accepted",
    "Attached",
    "Compared",
    "Delta",
    "Detached",
    "Disconnect",
    "Drain",
    "End",
    "Error",
    "Gap",
    "Lag",
    "Ping",
    "Queued",
    "ServerMessage",
    "Snapshot",
    "SnapshotTurn",
    "Start",
    "Switch",
    "Waiting",
    "Welcome",
]


class Welcome(msgspec.Struct, frozen=True, omit_defaults=True, tag="welcome", kw_only=True):
    """The token was good. Numbers the client should keep to."""

    connection: str
    """Names this connection in logs."""
    user: str
    ping_s: float
    """Seconds between two `ping`."""
    pong_s: float
    """Seconds to answer one."""
    frame_bytes_max: int
    """Largest frame that the gateway accepts."""
    prompt_bytes_max: int = 0
    """Largest input, or messages together, in UTF-8 bytes; 0: the gateway takes no prompt beyond a frame."""
    models: tuple[str, ...] = ()
    """What a prompt may name, the default one first."""
    simulated: bool = False
    """True while answers come from the simulated provider."""


class Attached(msgspec.Struct, frozen=True, omit_defaults=True, tag="attached", kw_only=True):
    """The session is followed from here. `head`: a cursor at the newest record when it was attached."""

    session: str
    head: str
    """A cursor at the newest record; empty where nothing was said in the session yet."""
    recovered: Literal["live", "replayed", "snapshot", "gap"]
    """Whether what follows is new, everything since the cursor, a picture, or less than asked for."""
    source: Literal["none", "memory", "log", "archive"] = "none"
    """Where the records that follow came from; `archive`: from ClickHouse, what the log holds no more."""


class Detached(msgspec.Struct, frozen=True, omit_defaults=True, tag="detached", kw_only=True):
    """The session is no longer followed."""

    session: str


class Accepted(msgspec.Struct, frozen=True, omit_defaults=True, tag="accepted", kw_only=True):
    """The broker has the prompt: it will end exactly once, whatever happens."""

    session: str
    prompt_id: str
    turns: tuple[str, ...]
    """The turns that answer it, one per model."""


class Queued(msgspec.Struct, frozen=True, omit_defaults=True, tag="queued", kw_only=True):
    """A prompt of the session was taken in, from whichever device."""

    session: str
    turn: str
    prompt_id: str
    position: int = 0
    """Turns of the session before it."""
    input: str = ""
    input_chars: int = 0
    """Characters of the whole input where `input` holds only its beginning; else 0."""
    model: str = ""
    eta_s: float | None = None
    """Seconds until it starts, where that can be said."""
    index: int = 0
    """Which of the prompt's models this turn asks."""
    models: tuple[str, ...] = ()
    """All models of a comparison, the merging one last; empty where one model is asked."""
    compare: CompareMode = "all"
    metadata: dict[str, str] = {}
    """The prompt's own, as it was sent."""
    try_offset: int = -1
    """Which sending of the prompt it is: a later one has a higher number; -1: not known. Of a turn that was refused for
    now, a `queued` with a higher one, or with none, begins it anew."""
    at_us: int = 0
    c: str = ""


class Waiting(msgspec.Struct, frozen=True, omit_defaults=True, tag="waiting", kw_only=True):
    """The turn waits: for a provider to have room or, once it has started, for its model to begin to answer."""

    session: str
    turn: str
    position: int = 0
    """Turns before it in the line for a place; 0: it is the next one."""
    eta_s: float | None = None
    """Expected wait in seconds, where it is known."""
    waits_for: WaitsFor = "place"
    """What for: a `place` at a provider, its `server` to be started, the `model` to be loaded, its `answer`."""
    at_us: int = 0
    """Wall clock of the worker, microseconds since 1970."""
    c: str = ""
    """Cursor after this message."""


class Start(msgspec.Struct, frozen=True, omit_defaults=True, tag="start", kw_only=True):
    """An attempt begins: text of earlier attempts of this turn is void."""

    session: str
    turn: str
    attempt: int
    provider: str = ""
    model: str = ""
    cause: StartCause = "first"
    """Why: the first attempt, or what became of the one before."""
    cached: bool = False
    """The answer comes from the response cache and costs nothing."""
    history_messages_cut: int = 0
    """Oldest messages left out so that the prompt fits the model's context."""
    at_us: int = 0
    c: str = ""


class Switch(msgspec.Struct, frozen=True, omit_defaults=True, tag="switch", kw_only=True):
    """Another provider takes over, as a new attempt. `from_seq` above 0: the text so far stands and goes on from that
    chunk; 0: the answer begins anew, and text of earlier attempts is void."""

    session: str
    turn: str
    attempt: int
    from_seq: int = 0
    provider: str = ""
    model: str = ""
    cause: StartCause = "failover"
    history_messages_cut: int = 0
    at_us: int = 0
    c: str = ""


class Delta(msgspec.Struct, frozen=True, omit_defaults=True, tag="delta", kw_only=True):
    """`n` chunks of text, joined; the first has number `seq`."""

    session: str
    turn: str
    attempt: int
    seq: int
    n: int
    """Chunks joined here; the next `seq` is `seq + n`."""
    text: str
    c: str = ""


class End(msgspec.Struct, frozen=True, omit_defaults=True, tag="end", kw_only=True):
    """The turn is over."""

    session: str
    turn: str
    attempt: int
    reason: EndReason
    usage: Usage = Usage()
    cost_nano_usd: int = 0
    """Billionths of a US dollar."""
    error: TurnError | None = None
    """Why, where `reason` is not enough."""
    text_sha256: str = ""
    """Of the whole text, to check what was put together."""
    text_chars: int = 0
    """Its length in Unicode code points."""
    forgotten: bool = False
    """Neither the question nor the answer belongs to the conversation any more."""
    first_text_s: float | None = None
    """Seconds from taking the prompt in to the first text that stands, by the worker's clock; absent where unknown."""
    metadata: dict[str, str] = {}
    """The prompt's own, as it was sent."""
    prompt_id: str = ""
    """Of a prompt that was refused for now; else absent."""
    try_offset: int = -1
    """Where the prompt was refused for now, which sending of it: it ends that one and those before, may be told with no
    `queued` before it, and the prompt may be sent again with its id."""
    at_us: int = 0
    c: str = ""


class Compared(msgspec.Struct, frozen=True, omit_defaults=True, tag="compared", kw_only=True):
    """What a comparison came to: the turn whose answer goes on in the conversation. The first one of a prompt
    counts."""

    session: str
    prompt_id: str
    mode: CompareMode
    turn: str = ""
    """Empty: no answer was whole."""
    scores: dict[str, float] = {}
    """With `best`, the score of each whole answer by its turn."""
    at_us: int = 0
    c: str = ""


class Gap(msgspec.Struct, frozen=True, omit_defaults=True, tag="gap", kw_only=True):
    """Not everything after the cursor can be given; a `snapshot` of what there is follows.

    `skipped`: the client asked to skip when it is slow; the snapshot tells the turns that were open or began since.
    """

    session: str
    reason: Literal["expired", "recreated", "unknown_cursor", "log_lost", "skipped"]


class SnapshotTurn(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A turn as it stands."""

    turn: str
    prompt_id: str
    input: str = ""
    input_chars: int = 0
    """Characters of the whole input where `input` holds only its beginning; else 0."""
    model: str = ""
    attempt: int = 0
    provider: str = ""
    """Who answers, or answered last."""
    next_seq: int = 0
    """Number of the first chunk that is not in `text` yet."""
    text: str = ""
    index: int = 0
    """Which of the prompt's models it asks."""
    models: tuple[str, ...] = ()
    """All models of a comparison, the merging one last; empty where one model is asked."""
    compare: CompareMode = "all"
    reason: EndReason | None = None
    """None while the turn is open."""
    usage: Usage = Usage()
    cost_nano_usd: int = 0
    error: TurnError | None = None
    forgotten: bool = False
    """Neither the question nor the answer belongs to the conversation any more."""
    first_text_s: float | None = None
    """As in `end`."""
    more: bool = False
    """The text goes on in the next snapshot message for the same turn (a frame has a size limit)."""


class Snapshot(msgspec.Struct, frozen=True, omit_defaults=True, tag="snapshot", kw_only=True):
    """The session as it stands; deltas go on from each turn's `next_seq`. It comes in as many messages as it needs,
    `compared` ones among them; only the last one carries `c`."""

    session: str
    turns: tuple[SnapshotTurn, ...]
    c: str = ""


class Lag(msgspec.Struct, frozen=True, omit_defaults=True, tag="lag", kw_only=True):
    """How this connection is served from now on. Nothing is left out in any mode."""

    mode: Literal["direct", "rollup", "log"]
    """Each record as it comes; joined, at most one frame per session in half a second; or from the log, at the pace
    that the client reads."""


class Error(msgspec.Struct, frozen=True, omit_defaults=True, tag="error", kw_only=True):
    """Something asked for was not done: what, and what to do about it."""

    code: str
    """For programs."""
    message: str
    """For people."""
    temporary: bool = False
    """The same may work later."""
    session: str = ""
    prompt_id: str = ""
    field: str = ""
    """The field at fault, where there is one."""
    retry_after_s: float | None = None


class Ping(msgspec.Struct, frozen=True, omit_defaults=True, tag="ping", kw_only=True):
    """Answer with `pong`. `heads`: the newest cursor per attached session, so that a hole can be noticed."""

    heads: dict[str, str] = {}


class Drain(msgspec.Struct, frozen=True, omit_defaults=True, tag="drain", kw_only=True):
    """This gateway is about to leave. Whoever connects elsewhere before its slot loses nothing by it; at the slot the
    connection is closed with 1012."""

    reconnect_in_ms: int
    """Milliseconds from now to this client's own slot."""
    cursors: dict[str, str] = {}
    """Session id → cursor to resume from, by what has been written so far."""


class Disconnect(msgspec.Struct, frozen=True, omit_defaults=True, tag="disconnect", kw_only=True):
    """Sent before every close: the code, why, and whether to come back (then with the cursors)."""

    code: int
    """The close code that follows."""
    reason: str
    reconnect: bool
    retry_after_s: float | None = None
    cursors: dict[str, str] = {}
    """Session id → cursor to resume from."""


ServerMessage: TypeAlias = (
    Welcome
    | Attached
    | Detached
    | Accepted
    | Queued
    | Waiting
    | Start
    | Switch
    | Delta
    | End
    | Compared
    | Gap
    | Snapshot
    | Lag
    | Error
    | Ping
    | Drain
    | Disconnect
)
