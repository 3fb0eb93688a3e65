"""Rows of `tokenwire.turn_parts` become turns again: what each of them said in the end.

An attempt is the rows of one run, parts 0 to the one with the outcome; what is numbered at or behind that was sent by a
worker that had been replaced, and says nothing. Of a turn's attempts, in their order, `void` ones say nothing;
a `continued` one leaves its text to the next, unless that begins anew (at chunk 0); any other outcome is the turn's
own end. A turn that is not there in full, or has not ended, is left out: half an answer must not pass for one. So are
sendings of its prompt that were refused for now: they are no part of the conversation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Final, NamedTuple

from schemas.records import REFUSED_RUN
from schemas.session_events import END_REASONS, EndReason, Usage

__all__ = ["ArchivedTurn", "PartRow", "archived_turns"]

VOID: Final = "void"


class PartRow(NamedTuple):
    """One row, its texts joined; the outcome's columns are empty but on the last part."""

    turn: str
    attempt: int
    run: str
    part: int
    last: bool
    prompt_id: str
    seq: int
    chunks: int
    text: str
    reason: str
    error_code: str
    provider: str
    model: str
    usage: Usage
    cost_nano_usd: int
    accepted_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedTurn:
    """A turn that has ended."""

    turn: str
    prompt_id: str
    attempt: int
    """The one that ended it."""
    provider: str
    model: str
    next_seq: int
    """Chunks that it said."""
    text: str
    reason: EndReason
    error_code: str
    usage: Usage
    cost_nano_usd: int
    """Of the attempt that ended it."""
    accepted_at: datetime | None


def archived_turns(rows: Iterable[PartRow]) -> tuple[ArchivedTurn, ...]:
    """The turns of one session, oldest first. Rows in any order."""
    ordered = sorted(rows, key=lambda row: (row.turn, row.attempt, row.run, row.part))
    turns = (turn_of(list(of_turn)) for _, of_turn in groupby(ordered, key=lambda row: row.turn))
    whole = [turn for turn in turns if turn is not None]
    return tuple(sorted(whole, key=lambda turn: (turn.accepted_at is not None, turn.accepted_at, turn.turn)))


def turn_of(rows: list[PartRow]) -> ArchivedTurn | None:
    text: list[str] = []
    said = 0
    for parts in attempts_of(rows):
        first, last = parts[0], parts[-1]
        if last.reason == VOID or not last.last or last.run.startswith(REFUSED_RUN):
            continue
        if [part.part for part in parts] != list(range(len(parts))):
            return None
        if first.seq == 0:
            text, said = [], 0
        for part in parts:
            if part.seq != said:
                return None
            text.append(part.text)
            said += part.chunks
        if last.reason in END_REASONS:
            return ended(last, "".join(text), said)
    return None


def attempts_of(rows: list[PartRow]) -> Iterator[list[PartRow]]:
    for _, grouped in groupby(rows, key=lambda row: (row.attempt, row.run)):
        parts = list(grouped)
        last = next((part for part in parts if part.last), None)
        yield parts if last is None else [*(part for part in parts if part.part < last.part), last]


def ended(last: PartRow, text: str, said: int) -> ArchivedTurn:
    return ArchivedTurn(
        turn=last.turn,
        prompt_id=last.prompt_id,
        attempt=last.attempt,
        provider=last.provider,
        model=last.model,
        next_seq=said,
        text=text,
        reason=last.reason,  # type: ignore[arg-type]  # looked up in END_REASONS
        error_code=last.error_code,
        usage=last.usage,
        cost_nano_usd=last.cost_nano_usd,
        accepted_at=last.accepted_at,
    )
