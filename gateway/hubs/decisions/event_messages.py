"""One event of a session → the message that tells it, field by field."""

from __future__ import annotations

from typing import Final, TypeAlias

from schemas.gateway_messages import Compared, End, Error, Queued, ServerMessage, Start, Switch, Waiting
from schemas.session_events import (
    ComparisonEnded,
    PromptRefused,
    StartCause,
    TurnEnded,
    TurnError,
    TurnQueued,
    TurnStarted,
    TurnWaiting,
)
from schemas.turn_fold import FoldedTurn

__all__ = ["TOLD_INPUT_CHARS_MAX", "ToldEvent", "compared", "first_text_s", "message_of", "refused_turn"]

TOLD_INPUT_CHARS_MAX: Final = 8_192
"""Longer inputs are told by their beginning and their length."""
SWITCH_CAUSES: Final[frozenset[StartCause]] = frozenset({"failover", "watchdog", "hedge"})
"""Starts that tell of another provider."""

ToldEvent: TypeAlias = TurnQueued | TurnStarted | TurnEnded | ComparisonEnded | PromptRefused | TurnWaiting


def message_of(event: ToldEvent, session: str, cursor: str, *, turn: FoldedTurn | None = None) -> ServerMessage:
    """What clients of a session are told of an event that counts; `cursor` stands behind it. `turn`: the one that an
    ending ends, as folded."""
    match event:
        case ComparisonEnded():
            return compared(event, session, cursor)
        case TurnWaiting():
            return waiting(event, session, cursor)
        case TurnQueued():
            return queued(event, session, cursor)
        case TurnStarted() if event.from_seq or event.cause in SWITCH_CAUSES:
            return switch(event, session, cursor)
        case TurnStarted():
            return start(event, session, cursor)
        case TurnEnded():
            return end(event, session, cursor, None if turn is None else first_text_s(turn))
        case PromptRefused():
            return refused(event, session)


def compared(event: ComparisonEnded, session: str, cursor: str) -> Compared:
    """What a comparison came to."""
    return Compared(
        session=session,
        prompt_id=event.prompt_id,
        mode=event.mode,
        turn=event.turn,
        scores=event.scores,
        at_us=event.at_us,
        c=cursor,
    )


def waiting(event: TurnWaiting, session: str, cursor: str) -> Waiting:
    return Waiting(
        session=session,
        turn=event.turn,
        position=event.position,
        eta_s=event.eta_s,
        waits_for=event.waits_for,
        at_us=event.at_us,
        c=cursor,
    )


def queued(event: TurnQueued, session: str, cursor: str) -> Queued:
    text = event.input if event.messages is None else event.messages[-1].content
    return Queued(
        session=session,
        turn=event.turn,
        prompt_id=event.prompt_id,
        position=event.position,
        input=text[:TOLD_INPUT_CHARS_MAX],
        input_chars=len(text) if len(text) > TOLD_INPUT_CHARS_MAX else 0,
        model=event.model,
        eta_s=event.eta_s,
        index=event.index,
        models=event.models,
        compare=event.compare,
        metadata=event.metadata,
        try_offset=event.try_offset,
        at_us=event.at_us,
        c=cursor,
    )


def switch(event: TurnStarted, session: str, cursor: str) -> Switch:
    return Switch(
        session=session,
        turn=event.turn,
        attempt=event.attempt,
        from_seq=event.from_seq,
        provider=event.provider,
        model=event.model,
        cause=event.cause,
        history_messages_cut=event.history_messages_cut,
        at_us=event.at_us,
        c=cursor,
    )


def start(event: TurnStarted, session: str, cursor: str) -> Start:
    return Start(
        session=session,
        turn=event.turn,
        attempt=event.attempt,
        provider=event.provider,
        model=event.model,
        cause=event.cause,
        cached=event.cached,
        history_messages_cut=event.history_messages_cut,
        at_us=event.at_us,
        c=cursor,
    )


def end(event: TurnEnded, session: str, cursor: str, first_text_s: float | None) -> End:
    return End(
        session=session,
        turn=event.turn,
        attempt=event.attempt,
        reason=event.reason,
        usage=event.usage,
        cost_nano_usd=event.cost_nano_usd,
        error=event.error,
        text_sha256=event.text_sha256,
        text_chars=event.text_chars,
        forgotten=event.forgotten,
        first_text_s=first_text_s,
        metadata=event.metadata,
        at_us=event.at_us,
        c=cursor,
    )


def refused_turn(event: PromptRefused, turn: str, session: str, cursor: str) -> End:
    """The end of one of the turns of a prompt that was refused for now."""
    error = TurnError(
        code=event.code, message=event.message, temporary=event.temporary, retry_after_s=event.retry_after_s
    )
    return End(
        session=session,
        turn=turn,
        attempt=0,
        reason="rejected",
        error=error,
        metadata=event.metadata,
        prompt_id=event.prompt_id,
        try_offset=event.try_offset,
        at_us=event.at_us,
        c=cursor,
    )


def refused(event: PromptRefused, session: str) -> Error:
    return Error(code=event.code, message=event.message, session=session, prompt_id=event.prompt_id)


def first_text_s(turn: FoldedTurn) -> float | None:
    """Seconds from taking the prompt in to the first text that stands, by the worker's clock; None where unknown."""
    first_at_us = 0
    for run in (*([turn.current] if turn.current else []), *reversed(turn.void_runs)):
        if run is not turn.current and not run.continued:
            break
        first_at_us = run.first_at_us or first_at_us
    if not first_at_us or first_at_us < turn.queued.at_us or not turn.queued.at_us:
        return None
    return (first_at_us - turn.queued.at_us) / 1_000_000
