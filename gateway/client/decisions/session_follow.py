"""What a client makes of a session's messages: which count, which it knows already, when to ask again.

Judged by turn, attempt and chunk number alone, as the protocol says. The log may be told twice (after a resume, or
from its start again): what is known already is a duplicate and changes nothing. Chunks of an attempt are numbered 0,
1, 2 …, the next `seq` is `seq + n`; anything beyond it is a hole, and nothing after it may be passed on before it is
mended. A start with a higher attempt voids the text before it, and so does a switch, unless its `from_seq` says how
many chunks stand. A prompt may be refused for now and sent again: an `end` with a `try_offset` ends that sending of
it and those before, and a `queued` of a later one begins its turn anew. The cursor moves only past messages that were
judged, never past a hole.

A hole is mended by attaching again at the last good cursor; if that does not help, at the log's start; if that does
not help either, the rest is taken as it is and said to have a hole. Between asking and the gateway's `attached`
whatever comes of the session is from before, and is dropped. A head, named by a ping, that stays ahead of the cursor
over two pings is a hole at the end: attaching there tells, once per head.

Memory: a few numbers per turn that was seen. No text is kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, assert_never

from schemas.gateway_messages import (
    Attached,
    Compared,
    Delta,
    End,
    Queued,
    Snapshot,
    SnapshotTurn,
    Start,
    Switch,
    Waiting,
)

__all__ = ["Adopted", "Dropped", "LogMessage", "Mend", "SessionFollow", "Taken", "Verdict"]

LogMessage: TypeAlias = Queued | Start | Switch | Delta | End | Compared
MENDS_MAX: Final = 2


@dataclass(frozen=True, slots=True)
class Taken:
    """Pass it on."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """It is known already, or from before the attach."""


@dataclass(frozen=True, slots=True)
class Mend:
    """Something is missing before it: drop it and attach again at `from_`."""

    from_: str


@dataclass(frozen=True, slots=True)
class Adopted:
    """Something is missing before it that could not be had again: say so, and pass it on."""


Verdict: TypeAlias = Taken | Dropped | Mend | Adopted
Judgement: TypeAlias = Literal["take", "duplicate", "hole"]


@dataclass(slots=True)
class TurnPosition:
    """How far a turn is known."""

    attempt: int = 0
    next_seq: int = 0
    ended: bool = False
    try_offset: int = -1
    """The sending of the prompt that it answers, while no attempt has begun; -1: not known."""
    refused: bool = False
    """It has ended because that sending was refused for now."""


@dataclass(slots=True)
class AskedPrompt:
    """The turns that answer a prompt, as far as they were told."""

    expected: int
    turns: set[str] = field(default_factory=set)


class SessionFollow:
    """What one client follows of one session. `from_`: where it begins, a cursor, "start" or "tail"."""

    def __init__(self, from_: str) -> None:
        self._from_ = from_
        self.cursor = ""
        """Resume from here: the newest one behind which nothing is missing."""
        self.awaiting = True
        """Asked for, and not attached yet."""
        self._adopts_unknown = from_ == "tail"
        """Turns are joined half-way on purpose."""
        self.turns: dict[str, TurnPosition] = {}
        self._compared: set[str] = set()
        self._prompts: dict[str, AskedPrompt] = {}
        self._prompt_by_turn: dict[str, str] = {}
        self._mends = 0
        self._replaces_at_snapshot = True
        self._checked_head = ""
        self._suspect: tuple[str, str] | None = None

    @property
    def position(self) -> str:
        """Where to attach next."""
        return self.cursor or self._from_

    def asked(self) -> None:
        """The session was asked for (again)."""
        self.awaiting = True

    def attached(self, message: Attached) -> None:
        """What follows is the answer to the last asking."""
        self.awaiting = False
        self._checked_head = message.head
        self._replaces_at_snapshot = True
        if self._from_ == "tail" and not self.cursor and message.recovered == "live":
            self.cursor = message.head  # else something is told first, and whoever is cut off before wants it again
            if not message.head:  # nothing was said there yet: all that will be is new
                self._from_ = "start"

    def gap(self, reason: str) -> None:
        """A snapshot follows; after a skip it adds to what is known."""
        self._replaces_at_snapshot = reason != "skipped"

    def refused(self) -> str | None:
        """The position was refused for good: begin anew from what is answered, once."""
        if not self.cursor:
            return None
        self.cursor = ""
        return "start"

    def head_seen(self, head: str) -> str | None:
        """A ping named the session's newest cursor; where to attach again, if something went missing."""
        if self.awaiting or head in (self.cursor, self._checked_head):
            return None
        sighting = (head, self.cursor)
        if self._suspect != sighting:
            self._suspect = sighting
            return None
        self._suspect = None
        return self.position

    # ---- Messages

    def take(self, message: LogMessage) -> Verdict:
        """Judge a message of the log, and remember it unless something is missing before it."""
        if self.awaiting:
            return Dropped()
        judgement = self.judge(message)
        if judgement == "hole" and self._mends < MENDS_MAX:
            self._mends += 1
            return Mend(self.position if self._mends == 1 else "start")
        if message.c:
            self.cursor = message.c
        if judgement == "duplicate":
            return Dropped()
        self.remember(message)
        return Adopted() if judgement == "hole" else Taken()

    def take_waiting(self, message: Waiting) -> bool:
        """For information: whether to pass it on. The next one, or the start, replaces it."""
        return not self.awaiting and message.turn in self.turns

    def take_snapshot(self, message: Snapshot) -> bool:
        """Take in part of a picture; False: it is from before."""
        if self.awaiting:
            return False
        if self._replaces_at_snapshot:
            self.turns.clear()
            self._compared.clear()
        self._replaces_at_snapshot = False
        for turn in message.turns:
            self.note(turn.turn, turn.prompt_id, turn.models)
            self.turns[turn.turn] = picture_of(turn)
        if message.c:
            self.cursor = message.c
        return True

    def prompt_of(self, turn: str) -> str:
        """The prompt that a turn answers; empty where its beginning was not seen."""
        return self._prompt_by_turn.get(turn, "")

    def is_over(self, prompt_id: str) -> bool:
        """Whether every turn that answers the prompt has ended for good: one that was refused may be sent again."""
        asked = self._prompts.get(prompt_id)
        if asked is None or len(asked.turns) < asked.expected:
            return False
        known = [self.turns.get(turn) for turn in asked.turns]
        return all(turn is not None and turn.ended and not turn.refused for turn in known)

    def judge(self, message: LogMessage) -> Judgement:
        if isinstance(message, Compared):
            return "duplicate" if message.prompt_id in self._compared else "take"
        known = self.turns.get(message.turn)
        if isinstance(message, Queued):
            return "take" if known is None or is_sent_again(known, message) else "duplicate"
        if known is None:
            return "take" if self.begins(message) else "hole"
        if isinstance(message, End) and message.try_offset >= 0:
            return "take" if is_refused_by(known, message) else "duplicate"
        if known.ended:
            return "duplicate"
        if isinstance(message, Start | Switch):
            if message.attempt <= known.attempt:
                return "duplicate"
            begins_anew = isinstance(message, Start) or message.from_seq in (0, known.next_seq)
            return "take" if begins_anew else "hole"
        if message.attempt != known.attempt:
            return "duplicate" if message.attempt < known.attempt else "hole"
        if isinstance(message, End) or message.seq == known.next_seq:
            return "take"
        return "duplicate" if message.seq + message.n <= known.next_seq else "hole"

    def begins(self, message: Start | Switch | Delta | End) -> bool:
        """Whether an unknown turn may begin with this."""
        match message:
            case Start() | End():
                return True
            case Switch():
                return self._adopts_unknown or message.from_seq == 0
            case Delta():
                return self._adopts_unknown or message.seq == 0
            case unreachable:
                assert_never(unreachable)

    def remember(self, message: LogMessage) -> None:
        match message:
            case Queued():
                self.note(message.turn, message.prompt_id, message.models)
                self.turns[message.turn] = TurnPosition(try_offset=message.try_offset)
            case Start():
                self.turns[message.turn] = TurnPosition(message.attempt)
            case Switch():
                self.turns[message.turn] = TurnPosition(message.attempt, message.from_seq)
            case Compared():
                self._compared.add(message.prompt_id)
            case Delta():
                self._mends = 0
                self.turns[message.turn] = TurnPosition(message.attempt, message.seq + message.n)
            case End() if message.try_offset >= 0:
                self._prompt_by_turn[message.turn] = message.prompt_id
                self.turns[message.turn] = TurnPosition(ended=True, try_offset=message.try_offset, refused=True)
            case End():
                known = self.turns.get(message.turn)
                next_seq = 0 if known is None else known.next_seq
                self.turns[message.turn] = TurnPosition(message.attempt, next_seq, ended=True)
            case unreachable:
                assert_never(unreachable)

    def note(self, turn: str, prompt_id: str, models: tuple[str, ...]) -> None:
        self._prompts.setdefault(prompt_id, AskedPrompt(max(1, len(models)))).turns.add(turn)
        self._prompt_by_turn[turn] = prompt_id


def is_sent_again(known: TurnPosition, queued: Queued) -> bool:
    """Whether a turn that was refused begins anew."""
    return known.refused and (queued.try_offset < 0 or queued.try_offset > known.try_offset)


def is_refused_by(known: TurnPosition, end: End) -> bool:
    """Whether a refusal ends what is known of its turn."""
    if known.ended:
        return known.refused and end.try_offset > known.try_offset
    return known.attempt == 0 and end.try_offset >= known.try_offset


def picture_of(turn: SnapshotTurn) -> TurnPosition:
    return TurnPosition(turn.attempt, turn.next_seq, ended=turn.reason is not None and not turn.more)
