"""A session as it stands, told anew after a gap; or its open turns, for somebody who joins late.

Holds the turns of what is left of the log, after those that only the archive still knows (without what was asked),
oldest first, each with its text so far. One `snapshot` message fits a
frame; a long text goes on in the next message for the same turn (`more`). A turn whose own messages go on afterwards
continues at its `next_seq`. What comparisons among them came to is told as it was when it happened, by `compared`
messages ahead of the last snapshot message: that one alone carries a cursor, so whoever holds it has been told all. So
are refusals, of whole pictures the newest `REFUSALS_TOLD_MAX`: their prompts have no turns, and whoever sent one waits.
Bounded: of a very long log the newest turns within `SNAPSHOT_CHARS_MAX` are told; the `gap` before has said that not
everything can be. Open turns are always among them: what follows would make no sense without.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

import msgspec

from gateway.hubs.decisions.event_messages import TOLD_INPUT_CHARS_MAX, compared, first_text_s, refused_turn
from infra.clickhouse.decisions.archived_turns import ArchivedTurn
from schemas.gateway_messages import Compared, End, Snapshot, SnapshotTurn
from schemas.session_events import TurnError, Usage
from schemas.turn_fold import FoldedTurn, SessionFold

__all__ = ["SNAPSHOT_CHARS_MAX", "snapshot_messages"]

SNAPSHOT_CHARS_MAX: Final = 2_097_152
ERROR_NOT_KEPT: Final = "the answer was not completed; what was said about it is kept no longer"
REFUSALS_TOLD_MAX: Final = 16
PIECE_CHARS_MAX: Final = 6_144
"""Text per message: with the input it stays below 64 KiB in any script, save where control characters abound."""


def snapshot_messages(
    fold: SessionFold,
    session: str,
    cursor: str,
    *,
    only: frozenset[str] | None = None,
    archived: Sequence[ArchivedTurn] = (),
) -> Iterator[Snapshot | Compared | End]:
    """The messages, the last one (perhaps the only one, and empty) with the cursor to go on from.

    `only`: these turns, and what comparisons among these prompts came to; None: all. `archived`: turns known from
    elsewhere, oldest first; what the log says of a turn goes before.
    """
    pending: SnapshotTurn | None = None
    begun = False
    prompts: dict[str, None] = {}
    on_log = (told_turn(turn) for name, turn in reversed(fold.turns.items()) if only is None or name in only)
    before = (archived_turn(turn) for turn in reversed(archived) if turn.turn not in fold.turns)
    for turn in newest_within(chain(on_log, before), SNAPSHOT_CHARS_MAX):
        prompts[turn.prompt_id] = None
        for piece in pieces_of(turn):
            if pending is not None:
                yield Snapshot(session=session, turns=(pending,))
                begun = True
            pending = piece
    outcomes = [fold.comparisons[prompt_id] for prompt_id in prompts if prompt_id in fold.comparisons]
    refusals = list(refusals_of(fold, session)) if only is None else []
    if (outcomes or refusals) and not begun:  # the first message begins the picture; an outcome cannot
        yield Snapshot(session=session, turns=() if pending is None else (pending,))
        pending = None
    for outcome in outcomes:
        yield compared(outcome, session, "")
    yield from refusals
    yield Snapshot(session=session, turns=() if pending is None else (pending,), c=cursor)


def refusals_of(fold: SessionFold, session: str) -> Iterator[End]:
    """The endings of prompts that were refused for now, and not sent again since."""
    for refused in list(fold.refused.values())[-REFUSALS_TOLD_MAX:]:
        for turn in () if refused.event is None else refused.event.turns:
            if refused.event is not None and not fold.stands(turn):
                yield refused_turn(refused.event, turn, session, "")


def newest_within(newest_first: Iterable[SnapshotTurn], chars_max: int) -> list[SnapshotTurn]:
    """The newest turns whose texts fit, oldest first; open turns are always among them."""
    chosen: list[SnapshotTurn] = []
    chars = 0
    for turn in newest_first:
        chars += len(turn.text) + len(turn.input)
        if chars <= chars_max or turn.reason is None:
            chosen.append(turn)
    return chosen[::-1]


def told_turn(turn: FoldedTurn) -> SnapshotTurn:
    """A turn of the log, in one piece."""
    asked = turn.messages[-1].content
    current, ended = turn.current, turn.ended
    return SnapshotTurn(
        turn=turn.queued.turn,
        prompt_id=turn.queued.prompt_id,
        input=asked[:TOLD_INPUT_CHARS_MAX],
        input_chars=len(asked) if len(asked) > TOLD_INPUT_CHARS_MAX else 0,
        model=turn.queued.model,
        attempt=turn.attempt,
        provider=current.started.provider if current else "",
        next_seq=turn.next_seq,
        text=turn.text,
        index=turn.queued.index,
        models=turn.queued.models,
        compare=turn.queued.compare,
        reason=ended.reason if ended else None,
        usage=ended.usage if ended else Usage(),
        cost_nano_usd=ended.cost_nano_usd if ended else 0,
        error=ended.error if ended else None,
        forgotten=ended.forgotten if ended else False,
        first_text_s=first_text_s(turn) if ended else None,
    )


def archived_turn(turn: ArchivedTurn) -> SnapshotTurn:
    """A turn that only the archive knows, in one piece."""
    return SnapshotTurn(
        turn=turn.turn,
        prompt_id=turn.prompt_id,
        model=turn.model,
        attempt=turn.attempt,
        provider=turn.provider,
        next_seq=turn.next_seq,
        text=turn.text,
        reason=turn.reason,
        usage=turn.usage,
        cost_nano_usd=turn.cost_nano_usd,
        error=TurnError(code=turn.error_code, message=ERROR_NOT_KEPT) if turn.error_code else None,
    )


def pieces_of(turn: SnapshotTurn) -> Iterator[SnapshotTurn]:
    """The turn in as many pieces as its text needs; only the first one says what was asked."""
    text = turn.text
    for start in range(0, max(1, len(text)), PIECE_CHARS_MAX):
        piece = msgspec.structs.replace(
            turn, text=text[start : start + PIECE_CHARS_MAX], more=start + PIECE_CHARS_MAX < len(text)
        )
        yield piece if start == 0 else msgspec.structs.replace(piece, input="", input_chars=0)
