"""A session as it stands, told anew after a gap; or its open turns, for somebody who joins late.

Holds the turns of what is left of the log, oldest first, each with its text so far. One `snapshot` message fits a
frame; a long text goes on in the next message for the same turn (`more`). A turn whose own messages go on afterwards
continues at its `next_seq`. What comparisons among them came to is told as it was when it happened, by `compared`
messages ahead of the last snapshot message: that one alone carries a cursor, so whoever holds it has been told all.
Bounded: of a very long log the newest turns within `SNAPSHOT_CHARS_MAX` are told; the `gap` before has said that not
everything can be. Open turns are always among them: what follows would make no sense without.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gateway.decisions.event_messages import TOLD_INPUT_CHARS_MAX, compared, first_text_s
from schemas.client_messages import Compared, Snapshot, SnapshotTurn
from schemas.session_events import Usage
from schemas.turn_fold import FoldedTurn, SessionFold

__all__ = ["SNAPSHOT_CHARS_MAX", "snapshot_messages"]

SNAPSHOT_CHARS_MAX: Final = 2_097_152
PIECE_CHARS_MAX: Final = 6_144
"""Text per message: with the input it stays below 64 KiB in any script, save where control characters abound."""


def snapshot_messages(
    fold: SessionFold, session: str, cursor: str, *, only: frozenset[str] | None = None
) -> Iterator[Snapshot | Compared]:
    """The messages, the last one (perhaps the only one, and empty) with the cursor to go on from.

    `only`: these turns, and what comparisons among these prompts came to; None: all.
    """
    pending: SnapshotTurn | None = None
    begun = False
    prompts: dict[str, None] = {}
    for turn in newest_within(fold, SNAPSHOT_CHARS_MAX):
        if only is not None and turn.queued.turn not in only:
            continue
        prompts[turn.queued.prompt_id] = None
        for piece in pieces_of(turn):
            if pending is not None:
                yield Snapshot(session=session, turns=(pending,))
                begun = True
            pending = piece
    outcomes = [fold.comparisons[prompt_id] for prompt_id in prompts if prompt_id in fold.comparisons]
    if outcomes and pending is not None and not begun:  # the first message begins the picture; an outcome cannot
        yield Snapshot(session=session, turns=(pending,))
        pending = None
    for outcome in outcomes:
        yield compared(outcome, session, "")
    yield Snapshot(session=session, turns=() if pending is None else (pending,), c=cursor)


def newest_within(fold: SessionFold, chars_max: int) -> list[FoldedTurn]:
    """The newest turns whose texts fit; open turns are always among them."""
    chosen: list[FoldedTurn] = []
    chars = 0
    for turn in reversed(list(fold.turns.values())):
        chars += len(turn.text) + min(len(turn.messages[-1].content), TOLD_INPUT_CHARS_MAX)
        if chars <= chars_max or turn.ended is None:
            chosen.append(turn)
    return chosen[::-1]


def pieces_of(turn: FoldedTurn) -> Iterator[SnapshotTurn]:
    text = turn.text
    starts = range(0, max(1, len(text)), PIECE_CHARS_MAX)
    asked = turn.messages[-1].content
    ended = turn.ended
    for start in starts:
        yield SnapshotTurn(
            turn=turn.queued.turn,
            prompt_id=turn.queued.prompt_id,
            input=asked[:TOLD_INPUT_CHARS_MAX] if start == 0 else "",
            input_chars=len(asked) if start == 0 and len(asked) > TOLD_INPUT_CHARS_MAX else 0,
            model=turn.queued.model,
            attempt=turn.attempt,
            provider=turn.current.started.provider if turn.current else "",
            next_seq=turn.next_seq,
            text=text[start : start + PIECE_CHARS_MAX],
            index=turn.queued.index,
            models=turn.queued.models,
            compare=turn.queued.compare,
            reason=ended.reason if ended else None,
            usage=ended.usage if ended else Usage(),
            cost_nano_usd=ended.cost_nano_usd if ended else 0,
            error=ended.error if ended else None,
            forgotten=ended.forgotten if ended else False,
            first_text_s=first_text_s(turn) if ended else None,
            more=start + PIECE_CHARS_MAX < len(text),
        )
