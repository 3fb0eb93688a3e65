"""What the answers of several models to one prompt come to.

Each model has a turn of its own, and each turn ends on its own; a comparison is what is made of the endings. `all`:
each answer stands, and the first model's goes into the conversation, or the next one's where it is not whole;
`first`: the first to be complete, by the log's order; `best`: a scorer chooses among the complete ones; `merge`: a
further turn makes one answer of them, and where it fails, or was stopped, or only one answer is complete, that is as
with `all`. Where a turn of the prompt is forgotten, or none is complete, nothing goes into the conversation.

Invariants: only a complete answer is ever chosen; except with `first` nothing is settled while a turn is open; with
the same endings the decision is the same, so it may be asked again after a crash, by anybody. Whoever closes a turn of
the prompt asks: the one that closes the last turn to end finds all of them ended, so a comparison is always settled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from schemas.prompts import CompareMode
from schemas.session_events import EndReason

__all__ = ["Answer", "Comparison", "Merge", "Open", "Score", "Settled", "best_of", "decide_comparison"]

STOPPED: Final = frozenset({"cancelled", "superseded"})


@dataclass(frozen=True, slots=True)
class Answer:
    """A turn of the prompt, as its session's log shows it."""

    turn: str
    reason: EndReason | None = None
    """None: it is open."""
    forgotten: bool = False
    ended_at: int = -1
    """The offset of its ending."""


@dataclass(frozen=True, slots=True)
class Open:
    """A comparison that is not settled yet: a turn is still to end."""


@dataclass(frozen=True, slots=True)
class Settled:
    """A comparison that is settled: this turn's answer goes into the conversation; empty: none."""

    turn: str


@dataclass(frozen=True, slots=True)
class Score:
    """The answers of these turns are to be scored."""

    turns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Merge:
    """A turn is to be queued that makes one answer of those of these turns."""

    turns: tuple[str, ...]


Comparison: TypeAlias = Open | Settled | Score | Merge


def decide_comparison(
    mode: CompareMode, answers: Sequence[Answer], *, merged: Answer | None = None, may_merge: bool = True
) -> Comparison:
    """Decide on the answers, by model. `merged`: the turn that merges them, where it was queued; `may_merge`: nobody
    stopped the prompt."""
    complete = [answer for answer in answers if answer.reason == "complete"]
    if mode == "first" and complete:
        return Settled(min(complete, key=lambda answer: answer.ended_at).turn)
    if any(answer.reason is None for answer in answers):
        return Open()
    if not complete or any(answer.forgotten for answer in answers):
        return Settled("")
    chosen = complete[0].turn
    turns = tuple(answer.turn for answer in complete)
    if mode == "best" and len(complete) > 1:
        return Score(turns)
    if mode != "merge":
        return Settled(chosen)
    if merged is not None:
        return after_merging(merged, chosen)
    stopped = not may_merge or any(answer.reason in STOPPED for answer in answers)
    return Settled(chosen) if stopped or len(complete) == 1 else Merge(turns)


def best_of(turns: Sequence[str], scores: Mapping[str, float]) -> str:
    """The turn with the highest score; of equals the first."""
    return max(turns, key=lambda turn: scores[turn])


def after_merging(merged: Answer, otherwise: str) -> Comparison:
    if merged.reason is None:
        return Open()
    if merged.forgotten:
        return Settled("")
    return Settled(merged.turn if merged.reason == "complete" else otherwise)
