"""Session events that count → messages for clients, encoded once for all of them.

A `SessionReading` folds a session's records in log order and turns each record that the fold calls effective into
messages with a cursor; whatever is void is passed over in silence. Two ways of reading:

- live (`take`): each record becomes its message at once; a record too large for a frame becomes several deltas, and a
  refusal an ending of each turn that it takes back;
- replayed (`replay`): consecutive deltas of one attempt are joined until they fill a frame, so that an answer of a
  thousand records is a handful of messages.

A message knows the positions it begins and ends at, so a reader can join another's stream exactly there.
Cost per live record: one look-up in the fold, one signature, one encoding; 11 µs in all. What is made for each record
is not frozen, though nobody changes it: a frozen dataclass takes 1 µs more to make.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import msgspec

from gateway.fetching.decisions.resume_cursor import CursorSigner, LogPosition
from gateway.hubs.decisions.event_messages import message_of, refused_turn
from gateway.hubs.decisions.follower_reports import ReportWish, wish_of, wishes_word
from schemas.codec import decode_session_event, encode
from schemas.errors import MalformedRecord
from schemas.gateway_messages import Delta
from schemas.session_events import (
    ComparisonEnded,
    PromptRefused,
    SessionEvent,
    TokensEmitted,
    TurnEnded,
    TurnHedged,
    TurnQueued,
)
from schemas.turn_fold import FoldedTurn, SessionFold, Verdict

__all__ = ["MESSAGE_BYTES_MAX", "HubMessage", "SessionReading", "SessionTeller", "subject_of"]

MESSAGE_BYTES_MAX: Final = 57_344
"""A delta larger than this is split where it has more than one chunk; a frame of 64 KiB holds one and some more."""
JOINED_CHARS_MAX: Final = 24_576
"""Replayed deltas are joined up to about here."""


@dataclass(slots=True, eq=False)
class HubMessage:
    """One encoded message, shared by every reader of the session."""

    payload: bytes
    cursor: str
    """Where a client that has it stands; empty where the message carries none."""
    begins: LogPosition
    ends: LogPosition
    turn: str
    """The turn it tells of; of a comparison, its prompt; else empty."""


class SessionTeller:
    """Makes the messages of one session: knows its id, its cursors and how large a message may be."""

    __slots__ = ("_newest_turn", "epoch", "message_bytes_max", "session", "signer")

    def __init__(
        self, session: str, epoch: bytes, signer: CursorSigner, *, message_bytes_max: int = MESSAGE_BYTES_MAX
    ) -> None:
        self.session = session
        self.epoch = epoch
        self.signer = signer
        self.message_bytes_max = message_bytes_max
        self._newest_turn = ""

    def one_name(self, turn: str) -> str:
        """The turn, in the same string for all of its messages: each record comes with one of its own."""
        if turn != self._newest_turn:
            self._newest_turn = turn
        return self._newest_turn

    def cursor(self, position: LogPosition, fold_from: int) -> str:
        """The cursor of a position of this session's log; empty where there is none yet."""
        if not self.epoch:
            return ""
        return self.signer.sign(self.epoch, position, fold_from)

    def messages_of(self, part: ToldPart) -> list[HubMessage]:
        """What clients are told of an event that counts."""
        event = part.event
        if isinstance(event, TokensEmitted):
            return list(self.deltas([part])) if event.chunks else []
        if isinstance(event, TurnHedged):
            return []  # the worker's own bookkeeping, until it speaks
        if isinstance(event, PromptRefused) and event.turns:
            return list(self.endings(event, part))
        cursor = self.cursor(part.ends, part.fold_from)
        payload = encode(message_of(event, self.session, cursor, turn=part.turn))
        return [HubMessage(payload, cursor, part.begins, part.ends, subject_of(event))]

    def endings(self, event: PromptRefused, part: ToldPart) -> Iterator[HubMessage]:
        """One for each turn that is taken back: each of them a place of the record, as chunks are."""
        told = [place for place, turn in enumerate(event.turns) if turn not in part.standing]
        begins, known = part.begins, part.begins.chunk
        for place in told:
            is_last = place == told[-1]
            ends = part.ends if is_last else LogPosition(begins.offset, known + place + 1)
            # whoever comes back in the middle has to read the record again
            cursor = self.cursor(ends, part.fold_from if is_last else min(part.fold_from, begins.offset))
            payload = encode(refused_turn(event, event.turns[place], self.session, cursor))
            yield HubMessage(payload, cursor, begins, ends, event.turns[place])
            begins = ends

    def deltas(self, parts: list[ToldPart]) -> Iterator[HubMessage]:
        """The parts as one delta, or halved until each fits a frame (or is a single chunk)."""
        first, last = parts[0].event, parts[-1]
        assert isinstance(first, TokensEmitted)
        chunks = first.chunks if len(parts) == 1 else joined_chunks(parts)
        cursor = self.cursor(last.ends, last.fold_from)
        delta = Delta(
            session=self.session,
            turn=first.turn,
            attempt=first.attempt,
            seq=first.seq,
            n=len(chunks),
            text="".join(chunks),
            c=cursor,
        )
        payload = encode(delta)
        if len(payload) <= self.message_bytes_max or len(chunks) < 2:
            yield HubMessage(payload, cursor, parts[0].begins, last.ends, self.one_name(first.turn))
            return
        for half in halves(parts):
            yield from self.deltas(half)


class SessionReading:
    """One reading of one session's log, from some offset on."""

    __slots__ = ("_joined", "_teller", "fold", "fold_from", "holes", "position", "stamped_us", "tells_from", "wish")

    def __init__(self, teller: SessionTeller, *, starts_at: int, tells_from: LogPosition) -> None:
        self._teller = teller
        self.fold = SessionFold()
        self.position = LogPosition(starts_at)
        """Everything before it has been folded."""
        self.fold_from = starts_at
        """Where a reader that comes at `position` must begin to fold."""
        self.tells_from = tells_from
        """What lies before is folded without a word."""
        self._joined: JoinedDeltas | None = None
        self.stamped_us = 0
        """When the newest effective record was stamped by its writer."""
        self.holes = 0
        """Records that were passed over since what should come before them is missing."""
        self.wish: ReportWish | None = None
        """What the worker of its open turns wants to hear of those who follow them."""

    def cursor(self) -> str:
        """The cursor of the position reached."""
        return self._teller.cursor(self.position, self.fold_from)

    def any_open(self) -> bool:
        """Whether a turn is open at the position reached."""
        return self.fold_from < self.position.offset

    def passed(self, offset: int) -> None:
        """Everything before `offset` has been seen, though it may have held nothing of this session."""
        if offset > self.position.offset:
            if not self.any_open():
                self.fold_from = offset
            self.position = LogPosition(offset)

    def take(self, offset: int, raw: bytes | None) -> list[HubMessage]:
        """Fold the record at `offset` and make its messages; empty where it does not count."""
        event = self.fold_in(offset, raw)
        return [] if event is None else self._teller.messages_of(self.part_of(event, offset))

    def replay(self, offset: int, raw: bytes | None) -> list[HubMessage]:
        """As `take`, with deltas held back and joined; `finish_replay` gives the last ones."""
        event = self.fold_in(offset, raw)
        if event is None:
            return []
        part = self.part_of(event, offset)
        if not isinstance(event, TokensEmitted):
            return [*self.finish_replay(), *self._teller.messages_of(part)]
        if self._joined is not None and self._joined.takes(event):
            self._joined.add(part)
            return []
        finished = self.finish_replay()
        self._joined = JoinedDeltas(part)
        return finished

    def finish_replay(self) -> list[HubMessage]:
        """The deltas held back."""
        joined, self._joined = self._joined, None
        return [] if joined is None else list(self._teller.deltas(joined.parts))

    def fold_in(self, offset: int, raw: bytes | None) -> SessionEvent | None:
        """The event, if it counts and is to be told. Moves the position in any case."""
        if offset < self.position.offset:
            return None
        idle = not self.any_open()
        self.position = LogPosition(offset + 1)
        if idle:
            self.fold_from = offset + 1
        if raw is None:
            return None
        try:
            event = decode_session_event(raw)
        except MalformedRecord:
            return None
        verdict = self.fold.apply(slim(event), offset)
        if verdict is not Verdict.EFFECTIVE:
            self.holes += verdict is Verdict.HOLE
            return None
        self.stamped_us = event.at_us
        if isinstance(event, TurnQueued | TurnEnded | PromptRefused):
            self.fold_from = min(self.fold.read_from(), offset + 1)
            if self.wish is not None or (isinstance(event, TurnQueued) and wishes_word(event)):
                self.wish = wish_of(turn.queued for turn in self.fold.open_turns())
        return event if offset >= self.tells_from.offset else None

    def part_of(self, event: SessionEvent, offset: int) -> ToldPart:
        """The event with its place; of the record that a client has in part, the rest."""
        begins = LogPosition(offset)
        if offset == self.tells_from.offset and self.tells_from.chunk and isinstance(event, TokensEmitted):
            begins, known = self.tells_from, self.tells_from.chunk
            event = msgspec.structs.replace(event, chunks=event.chunks[known:], seq=event.seq + known)
        if isinstance(event, PromptRefused):
            return self.part_of_refusal(event, begins)
        turn = self.fold.turns.get(event.turn) if isinstance(event, TurnEnded) else None
        return ToldPart(event, begins, self.position, self.fold_from, turn)

    def part_of_refusal(self, event: PromptRefused, begins: LogPosition) -> ToldPart:
        if begins.offset == self.tells_from.offset and self.tells_from.chunk:
            begins = self.tells_from
            event = msgspec.structs.replace(event, turns=event.turns[begins.chunk :])
        standing = frozenset(turn for turn in event.turns if self.fold.stands(turn))
        return ToldPart(event, begins, self.position, self.fold_from, standing=standing)


@dataclass(slots=True, eq=False)
class ToldPart:
    """One record, or the rest of one, that is to be told."""

    event: SessionEvent
    begins: LogPosition
    ends: LogPosition
    fold_from: int
    turn: FoldedTurn | None = None
    """Of an ending, the turn as folded."""
    standing: frozenset[str] = frozenset()
    """Of a refusal, those of its turns that it does not take back."""


class JoinedDeltas:
    """Consecutive token records of one attempt, held back until they fill a frame."""

    __slots__ = ("_chars", "parts")

    def __init__(self, part: ToldPart) -> None:
        self.parts: list[ToldPart] = []
        self._chars = 0
        self.add(part)

    def takes(self, event: TokensEmitted) -> bool:
        """Whether the event goes on where these end, and there is room."""
        last = self.parts[-1].event
        assert isinstance(last, TokensEmitted)
        same = event.turn == last.turn and event.attempt == last.attempt and event.seq == last.seq + len(last.chunks)
        return same and self._chars < JOINED_CHARS_MAX

    def add(self, part: ToldPart) -> None:
        """Join one more."""
        assert isinstance(part.event, TokensEmitted)
        self.parts.append(part)
        self._chars += sum(map(len, part.event.chunks))


def joined_chunks(parts: list[ToldPart]) -> tuple[str, ...]:
    return tuple(chunk for part in parts if isinstance(part.event, TokensEmitted) for chunk in part.event.chunks)


def halves(parts: list[ToldPart]) -> tuple[list[ToldPart], list[ToldPart]]:
    """Split between records where there are several, else inside the one record."""
    if len(parts) > 1:
        middle = len(parts) // 2
        return parts[:middle], parts[middle:]
    part = parts[0]
    event = part.event
    assert isinstance(event, TokensEmitted)
    half = len(event.chunks) // 2
    between = LogPosition(part.begins.offset, part.begins.chunk + half)
    first = msgspec.structs.replace(event, chunks=event.chunks[:half])
    second = msgspec.structs.replace(event, chunks=event.chunks[half:], seq=event.seq + half)
    return (
        [ToldPart(first, part.begins, between, part.fold_from)],
        [ToldPart(second, between, part.ends, part.fold_from)],
    )


def subject_of(event: SessionEvent) -> str:
    """The turn that an event tells of; of a comparison's end, its prompt; of a refusal, nothing."""
    match event:
        case PromptRefused():
            return ""
        case ComparisonEnded():
            return event.prompt_id
        case _:
            return event.turn


def slim(event: SessionEvent) -> SessionEvent:
    """What the fold needs to know: it judges turns, and must not keep their prompts."""
    if isinstance(event, TurnQueued) and (event.input or event.messages or event.metadata):
        return msgspec.structs.replace(event, input="", messages=None, metadata={})
    if isinstance(event, TurnEnded) and event.metadata:
        return msgspec.structs.replace(event, metadata={})
    return event
