"""What is told about a session, in order, on its log. `schemas.turn_fold` says how to read it.

`turn`, `attempt` and `run` name one call to a provider: attempts count from 1 (0: never started), a run is drawn
at random by whoever starts the attempt, so that two workers can never be mistaken for each other.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from schemas.prompts import ChatMessage, CompareMode, OnLeave, Pace

__all__ = [
    "END_REASONS",
    "ComparisonEnded",
    "EndReason",
    "PromptRefused",
    "SessionEvent",
    "StartCause",
    "TokensEmitted",
    "TurnEnded",
    "TurnError",
    "TurnHedged",
    "TurnQueued",
    "TurnStarted",
    "TurnWaiting",
    "Usage",
    "WaitsFor",
]

EndReason: TypeAlias = Literal[
    "complete", "incomplete", "cancelled", "superseded", "budget", "rejected", "expired", "error"
]
END_REASONS: Final[tuple[str, ...]] = (
    "complete",
    "incomplete",
    "cancelled",
    "superseded",
    "budget",
    "rejected",
    "expired",
    "error",
)

StartCause: TypeAlias = Literal[
    "first", "crash", "handler_error", "handover", "append_lost", "failover", "watchdog", "retry", "hedge"
]
"""Why an attempt was started. `crash`: its predecessor's worker died or lost the partition; `append_lost`: an
append whose outcome could not be learned; `handler_error`: our own code failed and the turn is retried;
`handover`: its worker was told to stop and left it to another; `failover`: another target took over from one that
failed; `watchdog`: from one that stalled; `retry`: no other target was left, so they are tried again after a pause;
`hedge`: a second target was asked while the first was slow to begin, and it spoke first."""


WaitsFor: TypeAlias = Literal["place", "server", "model", "answer"]
"""What a turn without text waits for. `place`: a provider to have room; `server`: the provider's server to be started,
nobody listens there yet; `model`: the server to load its model; `answer`: the first token, which is late: the server
may be loading its model or answering others first."""


class Usage(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Tokens of one attempt."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0
    """Input that the provider has put into its cache, at a price of its own; part of `input_tokens`."""
    estimated: bool = False
    """True where the provider reported nothing and the tokens were counted by us."""
    stated_cost_nano_usd: int | None = None
    """What the provider says that the call has cost, in billionths of a US dollar; None where it does not say."""


class TurnError(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Why a turn ended without its whole answer, for people and programs. Holds no prompt text."""

    code: str
    message: str
    temporary: bool = False
    retry_after_s: float | None = None


class TurnQueued(msgspec.Struct, frozen=True, omit_defaults=True, tag="turn.queued", kw_only=True):
    """A prompt was taken in. Carries the prompt, so that a session's log alone is its history."""

    turn: str
    prompt_id: str
    input: str = ""
    messages: tuple[ChatMessage, ...] | None = None
    model: str = ""
    position: int = 0
    """Turns of this session before it; 0: it starts at once."""
    eta_s: float | None = None
    on_leave: OnLeave = "finish"
    pace: Pace = "provider"
    index: int = 0
    """Which of the prompt's models this turn asks."""
    models: tuple[str, ...] = ()
    """All models of a comparison, the merging one last; empty where one model is asked."""
    compare: CompareMode = "all"
    metadata: dict[str, str] = {}
    """What its sender keeps with the prompt: it comes back unread."""
    try_offset: int = -1
    """Which sending of the prompt this is: the offset of its record on `tokenwire.prompts`; -1: an older worker's."""
    at_us: int = 0


class TurnStarted(msgspec.Struct, frozen=True, omit_defaults=True, tag="turn.started", kw_only=True):
    """An attempt begins; every earlier run of the turn is void from here on, and writes no more.

    With `from_seq` the text so far stands and the attempt goes on from it: its first chunk has that number. Otherwise
    the answer begins anew and earlier text is void.
    """

    turn: str
    attempt: int
    run: str
    provider: str = ""
    model: str = ""
    cause: StartCause = "first"
    from_seq: int = 0
    """Chunks of earlier attempts that stand."""
    cached: bool = False
    """The answer comes from the response cache: nobody is called and it costs nothing."""
    history_messages_cut: int = 0
    """Oldest messages left out so that the prompt fits the model's context."""
    at_us: int = 0


class TurnHedged(msgspec.Struct, frozen=True, omit_defaults=True, tag="turn.hedged", kw_only=True):
    """A second target is about to be asked while the current attempt is slow to begin. Voids nothing: if the second
    speaks first, a `TurnStarted` of the same attempt and run follows; else it is paid for in vain."""

    turn: str
    attempt: int
    run: str
    provider: str = ""
    model: str = ""
    at_us: int = 0


class TokensEmitted(msgspec.Struct, frozen=True, omit_defaults=True, tag="turn.tokens", kw_only=True):
    """Consecutive chunks of an answer: the first has number `seq`, the next record begins at seq + len(chunks)."""

    turn: str
    attempt: int
    run: str
    seq: int
    chunks: tuple[str, ...]
    gaps_us: tuple[int, ...] = ()
    """Per chunk, microseconds since the chunk before it (the attempt's first: since the request)."""
    at_us: int = 0


class TurnEnded(msgspec.Struct, frozen=True, omit_defaults=True, tag="turn.ended", kw_only=True):
    """The turn is over, for good. Readers hold the text already: only its hash and length travel here."""

    turn: str
    attempt: int
    run: str
    reason: EndReason
    usage: Usage = Usage()
    cost_nano_usd: int = 0
    price_version: str = ""
    error: TurnError | None = None
    text_sha256: str = ""
    text_chars: int = 0
    forgotten: bool = False
    """Neither the question nor what was answered belongs to the conversation any more."""
    metadata: dict[str, str] = {}
    """The prompt's."""
    at_us: int = 0


class ComparisonEnded(msgspec.Struct, frozen=True, omit_defaults=True, tag="comparison.ended", kw_only=True):
    """What a comparison came to: the turn whose answer goes into the conversation. The first one of a prompt counts."""

    prompt_id: str
    mode: CompareMode
    turn: str = ""
    """Empty: no answer was whole."""
    scores: dict[str, float] = {}
    """With `best`, the score of each whole answer by its turn."""
    at_us: int = 0


class TurnWaiting(msgspec.Struct, frozen=True, omit_defaults=True, tag="turn.waiting", kw_only=True):
    """What the turn waits for, for information only: a provider to have room, or its model to begin."""

    turn: str
    position: int = 0
    """Turns before it in the line for a place; 0: it is the next one."""
    eta_s: float | None = None
    waits_for: WaitsFor = "place"
    at_us: int = 0


class PromptRefused(msgspec.Struct, frozen=True, omit_defaults=True, tag="prompt.refused", kw_only=True):
    """A prompt that gets no turn of its own, such as an id sent again with another body.

    One that names `turns` refuses a sending of the prompt for now: turns of it that wait are as if they had never been,
    and the same prompt may be sent again with its id. Those that have started, ended, or are of a later sending stand.
    """

    prompt_id: str
    code: str
    message: str
    turns: tuple[str, ...] = ()
    """The prompt's turns; empty where a lasting refusal concerns none."""
    try_offset: int = -1
    """Which sending is refused: the offset of its record on `tokenwire.prompts`."""
    temporary: bool = False
    retry_after_s: float | None = None
    metadata: dict[str, str] = {}
    """The prompt's."""
    at_us: int = 0


SessionEvent: TypeAlias = (
    TurnQueued | TurnStarted | TurnHedged | TokensEmitted | TurnEnded | ComparisonEnded | PromptRefused | TurnWaiting
)
