"""What a session's log says was said: the conversation that the next model is told.

A turn counts once it has ended with text, whatever its reason: what a user has seen belongs to the conversation. Not
so a turn that was forgotten (`TurnEnded.forgotten`), and of a comparison only the turn that `ComparisonEnded` names.
The order is that of `TurnQueued` on the log, also where turns ran side by side and ended in another. A turn that came
with its whole `messages` replaces everything queued before it.

Invariant: the conversation is a function of the log alone. So a worker may keep it in memory and add to it turn by
turn, in the order of endings, or read it anew, and has the same (`tests/properties/test_session_history.py`): a turn's
place is that of its first record, and whether it counts is settled for good when it is added.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.prompts import ChatMessage
from schemas.session_events import ComparisonEnded
from schemas.turn_fold import FoldedTurn, SessionFold

__all__ = ["Said", "history_of", "messages_of", "said_by", "with_said"]


@dataclass(frozen=True, slots=True)
class Said:
    """A question and its answer, with their place on the log."""

    turn: str
    first_offset: int
    asked: tuple[ChatMessage, ...]
    replaces: bool
    """The question is a whole conversation."""
    answer: str

    @property
    def messages(self) -> tuple[ChatMessage, ...]:
        """Question and answer."""
        return (*self.asked, ChatMessage(role="assistant", content=self.answer))


def said_by(turn: FoldedTurn, comparison: ComparisonEnded | None) -> Said | None:
    """What a turn, folded with its text, adds to the conversation. `comparison`: what its prompt's came to."""
    queued, ended = turn.queued, turn.ended
    if ended is None or ended.forgotten or not turn.text:
        return None
    if queued.models and (comparison is None or comparison.turn != queued.turn):
        return None
    return Said(queued.turn, turn.first_offset, turn.messages, queued.messages is not None, turn.text)


def with_said(history: Sequence[Said], said: Said) -> list[Said]:
    """The history with one more turn, at its place; one that is known changes nothing."""
    if any(known.turn == said.turn for known in history):
        return list(history)
    place = bisect_right([known.first_offset for known in history], said.first_offset)
    longer = [*history[:place], said, *history[place:]]
    begins = max((number for number, known in enumerate(longer) if known.replaces), default=0)
    return longer[begins:]


def history_of(fold: SessionFold) -> list[Said]:
    """The conversation on a log that was folded with texts."""
    history: list[Said] = []
    for turn in fold.turns.values():
        said = said_by(turn, fold.comparisons.get(turn.queued.prompt_id))
        if said is not None:
            history = [said] if said.replaces else [*history, said]
    return history


def messages_of(history: Sequence[Said]) -> tuple[ChatMessage, ...]:
    """What the model is told, oldest first."""
    return tuple(message for said in history for message in said.messages)
