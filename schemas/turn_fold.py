"""The one reading of a session's log, used by every reader: gateway, worker, recovery, tests.

A session's log may hold the writing of workers that were frozen, fenced or killed; the fold says which records
count. In log order:

- the first `TurnQueued` of a turn opens it; another one is void;
- the first `TurnStarted(n)` with n above the turn's attempt wins: it voids every earlier run, text and all, unless it
  names with `from_seq` exactly the chunks so far: then their text stands and the new run goes on from it;
- `TurnHedged` is noted while the turn is open and voids nothing;
- `TokensEmitted` counts when it is of the current run and begins at the next chunk number;
- the first `TurnEnded` of the current run (or of attempt 0 where none has started) is final: whatever comes after
  it is void;
- the first `ComparisonEnded` of a prompt counts;
- `PromptRefused` that names turns takes back those of them that have not started, up to the sending (`try_offset`) that
  it refuses: they are as if they had never been, and a `TurnQueued` of a sending that was refused is void. One of a
  later sending opens the turn.

So whichever of two owners appended first has won, and both can tell by reading. The fold is a plain state machine
over records: no clock, no I/O. Cost per record: one dictionary look-up. Texts are kept only on request
(`keep_text`); otherwise ended turns are remembered without their prompts: the newest `ENDED_TURNS_WHOLE_MAX` with all
that was read of them, those before by their places on the log, `ENDED_TURNS_KEPT_MAX` in all. So memory is bounded by
open turns.

What a fold cannot know: a second `TurnQueued` of a turn that ended, or was refused, before the fold's first record
(or so long ago that it was forgotten) looks like a first one. Whoever acts on turns asks the journal, which knows
ended turns for a day.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from types import MappingProxyType
from typing import Any, Final

import msgspec

from schemas.prompts import ChatMessage
from schemas.session_events import (
    ComparisonEnded,
    PromptRefused,
    SessionEvent,
    TokensEmitted,
    TurnEnded,
    TurnHedged,
    TurnQueued,
    TurnStarted,
    TurnWaiting,
)

__all__ = [
    "ENDED_TURNS_KEPT_MAX",
    "ENDED_TURNS_WHOLE_MAX",
    "REFUSED_KEPT_MAX",
    "FoldedRun",
    "FoldedTurn",
    "RefusedPrompt",
    "SessionFold",
    "Verdict",
    "text_hash",
]

ENDED_TURNS_WHOLE_MAX: Final = 256
"""More than a session's turns that run side by side: whoever takes over needs to know how each of them ended."""
ENDED_TURNS_KEPT_MAX: Final = 1_024
"""Enough to know what comes late for what it is."""
REFUSED_KEPT_MAX: Final = 1_024
"""Prompts whose newest refusal is remembered."""
NOTHING: Final[Any] = MappingProxyType({})
"""An empty dict of everybody's: most folds are of sessions in which nothing has happened yet."""


class Verdict(enum.Enum):
    """What the fold says of a record."""

    EFFECTIVE = "effective"
    REPEATED = "repeated"
    """The turn is open already, the record's chunks are known, or its sending was refused."""
    OTHER_RUN = "other_run"
    """Written by a run that is void."""
    AFTER_END = "after_end"
    UNKNOWN_TURN = "unknown_turn"
    """Its turn was not opened in what was read."""
    HOLE = "hole"
    """Chunks are missing before it: the log was damaged or read from too late."""


@dataclass(slots=True)
class FoldedRun:
    """One attempt, as far as it got. `chunks` and `gaps_us` are its own, and stay empty unless texts are kept."""

    attempt: int
    run: str
    started: TurnStarted
    next_seq: int = 0
    chunks: list[str] = field(default_factory=list)
    gaps_us: list[int] = field(default_factory=list)
    first_at_us: int = 0
    last_at_us: int = 0
    continued: bool = False
    """The next attempt went on from its text."""
    before: list[str] = field(default_factory=list)
    """Text of the attempts that it goes on from, chunk by chunk (empty unless texts are kept)."""

    @property
    def stands(self) -> bool:
        """Whether it said something that the next attempt went on from."""
        return self.continued and self.next_seq > self.started.from_seq


@dataclass(slots=True)
class FoldedTurn:
    """One turn as it stands after the records folded so far."""

    queued: TurnQueued
    first_offset: int
    current: FoldedRun | None = None
    void_runs: list[FoldedRun] = field(default_factory=list)
    """Attempts that a later one replaced or went on from, oldest first."""
    hedges: list[TurnHedged] = field(default_factory=list)
    """Second calls that were about to be made, oldest first; those that spoke first became attempts."""
    ended: TurnEnded | None = None
    last_offset: int = -1
    queued_again_at: int = field(default=-1, compare=False)  # not part of what a log says
    """Where its queueing lies on the log once more, which says nothing new."""
    try_offset: int = field(default=-1, compare=False)
    """The newest sending of its prompt that was queued; -1: not known."""

    @property
    def attempt(self) -> int:
        """The current attempt; 0 while none has started."""
        return self.current.attempt if self.current else 0

    @property
    def run(self) -> str:
        """The current run; empty while none has started."""
        return self.current.run if self.current else ""

    @property
    def next_seq(self) -> int:
        """Number of the next chunk of the current run."""
        return self.current.next_seq if self.current else 0

    @property
    def text(self) -> str:
        """The answer so far (empty unless texts are kept)."""
        return "".join((*self.current.before, *self.current.chunks)) if self.current else ""

    @property
    def attempts_known(self) -> int:
        """The highest attempt that anything was written of, hedges included."""
        return max((self.attempt, *(hedge.attempt for hedge in self.hedges)))

    @property
    def messages(self) -> tuple[ChatMessage, ...]:
        """What the user said: the messages sent, or the input as one."""
        return self.queued.messages or (ChatMessage(role="user", content=self.queued.input),)


@dataclass(slots=True)
class PastTurn:
    """What is left of a turn that ended long ago."""

    first_offset: int
    queued_again_at: int


@dataclass(slots=True)
class RefusedPrompt:
    """The newest refusal of a prompt."""

    try_offset: int
    """The sending that was refused, with those before it."""
    turns: frozenset[str]
    """Those that it named, and refusals before it."""
    first_offset: int
    """Where the refusal lies."""
    event: PromptRefused | None
    """Where texts are kept."""
    queued_again_at: int = -1
    """Where a sending that was refused is queued all the same."""


class SessionFold:
    """Folds one session's records, in log order."""

    __slots__ = ("comparisons", "ended_order", "keep_text", "next_offset", "past", "refused", "turns")

    def __init__(self, *, keep_text: bool = False) -> None:
        self.keep_text = keep_text
        self.turns: dict[str, FoldedTurn] = {}
        self.next_offset = 0
        """One past the newest record folded."""
        self.ended_order: list[str] | tuple[()] = ()
        """Of the ended turns in `turns`."""
        self.past: dict[str, PastTurn] = NOTHING
        """Those that ended before them."""
        self.comparisons: dict[str, ComparisonEnded] = NOTHING
        """What comparisons came to, by prompt id; the newest ENDED_TURNS_KEPT_MAX unless texts are kept."""
        self.refused: dict[str, RefusedPrompt] = NOTHING
        """By prompt id, the one refused last at the end; the newest REFUSED_KEPT_MAX."""

    def apply(self, event: SessionEvent, offset: int) -> Verdict:
        """Fold the record at `offset` and say whether it counts. What is read again was folded already."""
        if offset < self.next_offset:
            return Verdict.REPEATED
        self.next_offset = offset + 1
        match event:
            case TurnQueued():
                return self.apply_queued(event, offset)
            case PromptRefused():
                return self.apply_refused(event, offset) if event.turns else Verdict.EFFECTIVE
            case ComparisonEnded():
                return self.apply_comparison(event)
            case TurnWaiting():
                turn = self.turns.get(event.turn)
                return Verdict.EFFECTIVE if turn is not None and turn.ended is None else Verdict.AFTER_END
            case TurnStarted() | TurnHedged() | TokensEmitted() | TurnEnded():
                turn = self.turns.get(event.turn)
                if turn is None:
                    return Verdict.AFTER_END if event.turn in self.past else Verdict.UNKNOWN_TURN
                if turn.ended is not None:
                    return Verdict.AFTER_END
                return self.apply_to_open(turn, event, offset)

    def open_turns(self) -> Iterator[FoldedTurn]:
        """The turns that have not ended, oldest first."""
        return (turn for turn in self.turns.values() if turn.ended is None)

    def is_refused(self, prompt_id: str, turn: str, try_offset: int) -> bool:
        """Whether this sending of a prompt, with this turn, was refused for now, as far as it was folded."""
        known = self.refused.get(prompt_id)
        return known is not None and turn in known.turns and 0 <= try_offset <= known.try_offset

    def stands(self, turn: str) -> bool:
        """Whether the turn is open or has ended, as far as it is known."""
        return turn in self.turns or turn in self.past

    def holds(self, turn: str, try_offset: int) -> bool:
        """Whether the turn, as far as it is known, was queued for this sending or one before."""
        known = self.turns.get(turn)
        return known is not None and known.try_offset <= try_offset

    def first_ended_offset(self) -> int:
        """Where the first of the ended turns that are remembered begins; -1: none has ended."""
        ended = (turn.first_offset for turn in self.turns.values() if turn.ended is not None)
        return min(chain((turn.first_offset for turn in self.past.values()), ended), default=-1)

    def read_from(self) -> int:
        """The offset from which a new reader must fold to know what this fold knows of open turns.

        And to know which queueings are repetitions: a reader that began behind the first would take the second for it.
        """
        start = min((turn.first_offset for turn in self.open_turns()), default=self.next_offset)
        while True:
            known: Iterator[FoldedTurn | PastTurn | RefusedPrompt]
            known = chain(self.past.values(), self.turns.values(), self.refused.values())
            repeated = (turn.first_offset for turn in known if turn.queued_again_at >= start)
            earliest = min(repeated, default=start)
            if earliest >= start:
                return start
            start = earliest

    def apply_queued(self, event: TurnQueued, offset: int) -> Verdict:
        known = self.turns.get(event.turn) or self.past.get(event.turn)
        if known is not None:
            if offset > known.first_offset:
                known.queued_again_at = max(known.queued_again_at, offset)
            if isinstance(known, FoldedTurn):
                known.try_offset = max(known.try_offset, event.try_offset)
            return Verdict.REPEATED
        if self.is_refused(event.prompt_id, event.turn, event.try_offset):
            self.refused[event.prompt_id].queued_again_at = offset
            return Verdict.REPEATED
        turn = FoldedTurn(event, first_offset=offset, last_offset=offset, try_offset=event.try_offset)
        self.turns[event.turn] = turn
        return Verdict.EFFECTIVE

    def apply_refused(self, event: PromptRefused, offset: int) -> Verdict:
        if all(self.is_refused(event.prompt_id, turn, event.try_offset) for turn in event.turns):
            return Verdict.REPEATED
        for name in event.turns:
            turn = self.turns.get(name)
            if turn is not None and is_taken_back(turn, event):
                del self.turns[name]
        if self.refused is NOTHING:
            self.refused = {}
        known = self.refused.pop(event.prompt_id, RefusedPrompt(-1, frozenset(), offset, None))
        sending, kept = max(known.try_offset, event.try_offset), event if self.keep_text else None
        self.refused[event.prompt_id] = RefusedPrompt(sending, known.turns.union(event.turns), offset, kept)
        if len(self.refused) > REFUSED_KEPT_MAX:
            del self.refused[next(iter(self.refused))]
        return Verdict.AFTER_END if all(map(self.stands, event.turns)) else Verdict.EFFECTIVE

    def apply_comparison(self, event: ComparisonEnded) -> Verdict:
        if event.prompt_id in self.comparisons:
            return Verdict.REPEATED
        if self.comparisons is NOTHING:
            self.comparisons = {}
        self.comparisons[event.prompt_id] = event
        while len(self.comparisons) > ENDED_TURNS_KEPT_MAX and not self.keep_text:
            del self.comparisons[next(iter(self.comparisons))]
        return Verdict.EFFECTIVE

    def apply_to_open(
        self, turn: FoldedTurn, event: TurnStarted | TurnHedged | TokensEmitted | TurnEnded, offset: int
    ) -> Verdict:
        match event:
            case TurnStarted():
                verdict = start(turn, event)
            case TurnHedged():
                verdict = hedge(turn, event)
            case TokensEmitted():
                verdict = extend(turn, event, keep_text=self.keep_text)
            case TurnEnded():
                verdict = end(turn, event)
                if verdict is Verdict.EFFECTIVE:
                    self.remember_ended(turn)
        if verdict is Verdict.EFFECTIVE:
            turn.last_offset = offset
        return verdict

    def remember_ended(self, turn: FoldedTurn) -> None:
        if self.keep_text:  # whoever keeps texts wants the whole history; the reader bounds what it reads
            return
        turn.queued = msgspec.structs.replace(turn.queued, input="", messages=None, metadata={})
        if not self.ended_order:
            self.ended_order = []
        self.ended_order.append(turn.queued.turn)
        if len(self.ended_order) > ENDED_TURNS_WHOLE_MAX:
            name = self.ended_order.pop(0)
            oldest = self.turns.pop(name)
            if self.past is NOTHING:
                self.past = {}
            self.past[name] = PastTurn(oldest.first_offset, oldest.queued_again_at)
        if len(self.past) > ENDED_TURNS_KEPT_MAX - ENDED_TURNS_WHOLE_MAX:
            del self.past[next(iter(self.past))]


def is_taken_back(turn: FoldedTurn, refusal: PromptRefused) -> bool:
    """Whether the refusal is of an open turn's sending, which nobody has begun."""
    waits = turn.ended is None and not turn.attempts_known
    return waits and 0 <= turn.try_offset <= refusal.try_offset


def start(turn: FoldedTurn, event: TurnStarted) -> Verdict:
    earlier = turn.current
    if event.attempt <= turn.attempt:
        return Verdict.OTHER_RUN
    if event.from_seq not in (0, turn.next_seq):
        return Verdict.HOLE
    run = FoldedRun(event.attempt, event.run, event, next_seq=event.from_seq)
    if earlier is not None:
        turn.void_runs.append(earlier)
        if event.from_seq:
            earlier.continued = True
            run.before = [*earlier.before, *earlier.chunks]
    turn.current = run
    return Verdict.EFFECTIVE


def hedge(turn: FoldedTurn, event: TurnHedged) -> Verdict:
    if event.attempt <= turn.attempt or any(event.run == known.run for known in turn.hedges):
        return Verdict.OTHER_RUN
    turn.hedges.append(event)
    return Verdict.EFFECTIVE


def extend(turn: FoldedTurn, event: TokensEmitted, *, keep_text: bool) -> Verdict:
    run = turn.current
    if run is None or event.run != run.run or event.attempt != run.attempt:
        return Verdict.OTHER_RUN
    if event.seq != run.next_seq:
        return Verdict.REPEATED if event.seq < run.next_seq else Verdict.HOLE
    run.next_seq += len(event.chunks)
    run.first_at_us = run.first_at_us or event.at_us
    run.last_at_us = event.at_us
    if keep_text:
        run.chunks.extend(event.chunks)
        run.gaps_us.extend(event.gaps_us)
    return Verdict.EFFECTIVE


def end(turn: FoldedTurn, event: TurnEnded) -> Verdict:
    if event.attempt != turn.attempt or event.run != turn.run:
        return Verdict.OTHER_RUN
    turn.ended = event
    return Verdict.EFFECTIVE


def text_hash(text: str) -> str:
    """SHA-256 of an answer, as `TurnEnded.text_sha256` carries it; lone surrogates are replaced."""
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()
