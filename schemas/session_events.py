"""What is told about a session, in order, on its log. `schemas.turn_fold` says how to read it.

`turn`, `attempt` and `run` name one call to a provider: attempts count from 1 (0: never started), a run is drawn
at random by whoever starts the attempt, so that two workers can never be mistaken for each other.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from schemas.prompts import ChatMessage

__all__ = [
    "END_REASONS",
    "EndReason",
    "PromptRefused",
    "SessionEvent",
    "StartCause",
    "TokensEmitted",
    "TurnEnded",
    "TurnError",
    "TurnQueued",
    "TurnStarted",
    "TurnWaiting",
    "Usage",
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
    "first", "crash", "handler_error", "handover", "append_lost", "failover", "watchdog", "retry"
]
"""Why an attempt was started. `crash`: its predecessor's worker died or lost the partition; `append_lost`: an
append whose outcome could not be learned; `handler_error`: our own code failed and the turn is retried;
`handover`: its worker was told to stop and left it to another; `failover`: another target took over from one that
failed; `watchdog`: from one that stalled; `retry`: no other target was left, so they are tried again after a pause."""


class Usage(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Tokens of one attempt."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    """True where the provider reported nothing and the tokens were counted by us."""


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
    at_us: int = 0


class TurnStarted(msgspec.Struct, frozen=True, omit_defaults=True, tag="turn.started", kw_only=True):
    """An attempt begins; every earlier run of the turn is void from here on."""

    turn: str
    attempt: int
    run: str
    provider: str = ""
    model: str = ""
    cause: StartCause = "first"
    history_messages_cut: int = 0
    """Oldest messages left out so that the prompt fits the model's context."""
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
    at_us: int = 0


class TurnWaiting(msgspec.Struct, frozen=True, omit_defaults=True, tag="turn.waiting", kw_only=True):
    """The turn waits for a provider to have room: its place in that line, for information only."""

    turn: str
    position: int = 0
    """Turns before it; 0: it is the next one."""
    eta_s: float | None = None
    at_us: int = 0


class PromptRefused(msgspec.Struct, frozen=True, omit_defaults=True, tag="prompt.refused", kw_only=True):
    """A prompt that gets no turn of its own, such as an id sent again with another body."""

    prompt_id: str
    code: str
    message: str
    at_us: int = 0


SessionEvent: TypeAlias = TurnQueued | TurnStarted | TokensEmitted | TurnEnded | PromptRefused | TurnWaiting
