"""Which turns are open in a partition that many sessions share, so that a session can be opened without reading it all.

A reader must begin to fold a session's log where its oldest open turn begins. In a log of its own that is read from its
beginning; a shared partition holds a day of everybody's records. So whoever reads the partition anyway notes, of all
sessions, where turns were queued, and forgets them once they have ended or were refused for now. Only four kinds of
records are decoded, told by how their bytes begin; tokens, nearly all of a log, are passed over.

It errs to one side: it may take a turn for open that has ended (where an attempt went on from another's text, since
whether that counts depends on tokens), never the other way round. Whoever begins too early reads more than it needs and
finds out. What it shares with the fold: a turn that is queued once more after its end was forgotten looks new.

Memory: the open turns, of the newest `ENDED_KEPT_MAX` that have ended 24 bytes each, `AGAIN_MAX` of those that were
queued more than once, and `REFUSED_KEPT_MAX` prompts that were refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from gateway.fetching.decisions.ended_turns import EndedTurns
from schemas.codec import decode_session_event
from schemas.errors import MalformedRecord
from schemas.session_events import PromptRefused, SessionEvent, TurnEnded, TurnQueued, TurnStarted
from schemas.turn_fold import REFUSED_KEPT_MAX

__all__ = ["AGAIN_MAX", "OpenTurns"]

AGAIN_MAX: Final = 256
TOLD_BY: Final = (
    b'{"type":"turn.queued"',
    b'{"type":"turn.started"',
    b'{"type":"turn.ended"',
    b'{"type":"prompt.refused"',
)
OURS: Final = b'{"type":"'
"""How our records begin; one that begins otherwise is decoded to see what it is."""


@dataclass(slots=True)
class NotedTurn:
    """One turn, as far as it matters where to begin."""

    key: bytes
    turn: str
    first_offset: int
    attempt: int = 0
    run: str = ""
    unsure: bool = False
    """An attempt went on from another's text: which one counts is not known here."""
    ended: bool = False
    queued_again_at: int = -1
    try_offset: int = -1


@dataclass(slots=True)
class NotedRefusal:
    """The newest refusal of a prompt: the sending and the turns that were refused, where it lies, and where one of them
    is queued after it."""

    try_offset: int
    turns: frozenset[str]
    first_offset: int
    queued_again_at: int = -1


class OpenTurns:
    """The open turns of one partition. `known_to`: every record before it was noted."""

    __slots__ = ("again", "by_key", "ended", "known_to", "refused", "refused_order")

    def __init__(self, known_to: int) -> None:
        self.known_to = known_to
        self.by_key: dict[bytes, dict[str, NotedTurn]] = {}
        """The open ones, and those that have ended and were queued more than once."""
        self.again: dict[tuple[bytes, str], None] = {}
        """Of them the ones that have ended, oldest first."""
        self.ended = EndedTurns()
        self.refused: dict[bytes, dict[str, NotedRefusal]] = {}
        """Prompts that were refused, by their id."""
        self.refused_order: dict[tuple[bytes, str], None] = {}
        """All of them, the one refused last at the end."""

    def note(self, offset: int, key: bytes | None, value: bytes | None) -> None:
        """The next record; those that were noted already change nothing."""
        if offset < self.known_to:
            return
        self.known_to = offset + 1
        if key is None or value is None:
            return
        if value.startswith(TOLD_BY) or not value.startswith(OURS):
            try:
                event = decode_session_event(value)
            except MalformedRecord:
                return
            self.take(offset, key, event)

    def passed(self, offset: int) -> None:
        """Everything before `offset` was read."""
        self.known_to = max(self.known_to, offset)

    def read_from(self, key: bytes) -> int:
        """Where a reader must begin that wants to know the session's open turns at `known_to`.

        As `SessionFold.read_from`: also so that a repeated queueing is known for what it is.
        """
        turns = self.by_key.get(key, {}).values()
        again: list[NotedTurn | NotedRefusal] = [*turns, *self.refused.get(key, {}).values()]
        start = min((turn.first_offset for turn in turns if not turn.ended), default=self.known_to)
        while True:
            earliest = min((noted.first_offset for noted in again if noted.queued_again_at >= start), default=start)
            if earliest >= start:
                return start
            start = earliest

    def take(self, offset: int, key: bytes, event: SessionEvent) -> None:
        match event:
            case TurnQueued():
                self.queued(offset, key, event)
            case PromptRefused() if event.turns:
                self.was_refused(offset, key, event)
            case TurnStarted():
                self.started(self.by_key.get(key, {}).get(event.turn), event)
            case TurnEnded():
                self.has_ended(self.by_key.get(key, {}).get(event.turn), event)
            case _:
                pass

    def queued(self, offset: int, key: bytes, event: TurnQueued) -> None:
        turn, known = event.turn, self.by_key.get(key, {}).get(event.turn)
        if known is not None:
            known.queued_again_at = offset
            known.try_offset = max(known.try_offset, event.try_offset)
            return
        first_offset = self.ended.first_offset(key, turn)
        if first_offset is not None:
            ended = NotedTurn(key, turn, first_offset, ended=True, queued_again_at=offset)
            self.by_key.setdefault(key, {})[turn] = ended
            self.keep_again(ended)
            return
        refusal = self.refused.get(key, {}).get(event.prompt_id)
        if refusal is not None and turn in refusal.turns and 0 <= event.try_offset <= refusal.try_offset:
            refusal.queued_again_at = offset
            return
        self.by_key.setdefault(key, {})[turn] = NotedTurn(key, turn, offset, try_offset=event.try_offset)

    def was_refused(self, offset: int, key: bytes, event: PromptRefused) -> None:
        prompts = self.refused.setdefault(key, {})
        known = prompts.get(event.prompt_id, NotedRefusal(-1, frozenset(), offset))
        if known.try_offset >= event.try_offset and known.turns.issuperset(event.turns):
            return
        sending = max(known.try_offset, event.try_offset)
        prompts[event.prompt_id] = NotedRefusal(sending, known.turns.union(event.turns), offset)
        self.refused_order.pop((key, event.prompt_id), None)
        self.refused_order[key, event.prompt_id] = None
        if len(self.refused_order) > REFUSED_KEPT_MAX:
            self.forget_refusal(*next(iter(self.refused_order)))
        for turn in event.turns:
            noted = self.by_key.get(key, {}).get(turn)
            if noted is None or noted.ended or noted.attempt:
                continue
            if 0 <= noted.try_offset <= event.try_offset:
                self.forget(key, turn)

    def forget_refusal(self, key: bytes, prompt_id: str) -> None:
        del self.refused_order[key, prompt_id]
        del self.refused[key][prompt_id]
        if not self.refused[key]:
            del self.refused[key]

    def started(self, known: NotedTurn | None, event: TurnStarted) -> None:
        if known is None or known.ended or event.attempt <= known.attempt:
            return
        known.attempt, known.run = event.attempt, event.run
        known.unsure = bool(event.from_seq)

    def has_ended(self, known: NotedTurn | None, event: TurnEnded) -> None:
        if known is None or known.ended or known.unsure or (event.attempt, event.run) != (known.attempt, known.run):
            return
        known.ended = True
        self.ended.add(known.key, known.turn, known.first_offset)
        if known.queued_again_at < 0:
            self.forget(known.key, known.turn)
        else:
            self.keep_again(known)

    def keep_again(self, ended: NotedTurn) -> None:
        self.again[ended.key, ended.turn] = None
        if len(self.again) > AGAIN_MAX:
            oldest = next(iter(self.again))
            del self.again[oldest]
            self.forget(*oldest)

    def forget(self, key: bytes, turn: str) -> None:
        turns = self.by_key[key]
        del turns[turn]
        if not turns:
            del self.by_key[key]
