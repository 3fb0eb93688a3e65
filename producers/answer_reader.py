"""Reading the answer to a prompt from its session's log, as it grows.

Theory. The log is the truth: whatever the fold calls effective was said, in order, once. A reader that was there
before the prompt was published needs only what comes after; one that may be late (the same prompt_id was sent before)
reads the log from its beginning. Either way the same records give the same answer, so reading again is always safe.

A reader owns one connection and follows one answer at a time: brokers serve a connection's requests one after the
other, so two waiting fetches on one connection would wait for each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import structlog

from infra.kafka.log_client import LogClient, LogError, LogRecord, LogUnavailable, OffsetOutOfRange, UnknownLog
from infra.kafka.session_topics import SessionTopics, SessionTopicsUnavailable
from infra.settings import Settings
from producers.errors import AnswerLost, AnswerTimedOut, AnswerUnavailable
from schemas.codec import decode_session_event
from schemas.errors import SchemaError
from schemas.identifiers import check_prompt_id, check_session_id, check_user_id, session_key_of, turn_id_of
from schemas.prompts import PromptSubmitted
from schemas.session_events import (
    ComparisonEnded,
    EndReason,
    PromptRefused,
    SessionEvent,
    TokensEmitted,
    TurnEnded,
    TurnError,
    TurnQueued,
    TurnStarted,
    Usage,
)
from schemas.topics import LogPlace
from schemas.turn_fold import SessionFold, Verdict, text_hash

__all__ = ["AnswerEnded", "AnswerPiece", "AnswerReader", "AnswerStart", "AnswerStarted", "AnswerText"]

FETCH_WAIT_MS: Final = 500
AWAY_PAUSE_S: Final = 0.2

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AnswerStart:
    """Where to begin reading."""

    place: LogPlace
    offset: int


@dataclass(frozen=True, slots=True)
class AnswerStarted:
    """An attempt begins: text of earlier attempts is void."""

    attempt: int
    model: str
    cause: str


@dataclass(frozen=True, slots=True)
class AnswerText:
    """The answer goes on."""

    text: str


@dataclass(frozen=True, slots=True)
class AnswerEnded:
    """The last piece: how it ended, and the whole text."""

    turn: str
    reason: EndReason
    text: str = ""
    usage: Usage = field(default_factory=Usage)
    cost_nano_usd: int = 0
    error: TurnError | None = None


AnswerPiece: TypeAlias = AnswerStarted | AnswerText | AnswerEnded


class AnswerReader:
    """Follows answers, one at a time. `topics` may be shared with other readers and is started by its owner."""

    def __init__(self, settings: Settings, topics: SessionTopics) -> None:
        self._topics = topics
        self._log = LogClient(settings, client_id="tokenwire-answers")

    async def start(self) -> None:
        """Connect. Raises AnswerUnavailable."""
        try:
            await self._log.start()
        except LogError as error:
            raise AnswerUnavailable(str(error)) from error

    async def stop(self) -> None:
        """Disconnect."""
        await self._log.stop()

    async def locate(self, user: str, session: str, *, from_start: bool) -> AnswerStart:
        """Where to read from; call it before the prompt is published. The session's topic is made if absent.

        `from_start`: the prompt may have been published before. Raises AnswerUnavailable.
        """
        key = session_key_of(check_user_id(user), check_session_id(session))
        try:
            place = (await self._topics.ensure(key)).place
            bounds = await self._log.bounds(place.topic, place.partition)
        except (LogError, SessionTopicsUnavailable) as error:
            raise AnswerUnavailable(f"the session's log cannot be read now: {error}") from error
        return AnswerStart(place, bounds.start if from_start else bounds.end)

    async def follow(
        self, prompt: PromptSubmitted, start: AnswerStart, *, deadline_s: float
    ) -> AsyncIterator[AnswerPiece]:
        """The pieces of the answer, the last one an AnswerEnded.

        Raises AnswerTimedOut, AnswerLost. A broker that is away is waited for until the deadline.
        """
        answer = FollowedAnswer(prompt)
        key = session_key_of(check_user_id(prompt.user), check_session_id(prompt.session)).encode()
        ends_at_s = asyncio.get_running_loop().time() + deadline_s
        offset = start.offset
        while True:
            records, offset = await self._next_records(start.place, offset, ends_at_s, answer)
            for record in records:
                if record.value is None or (start.place.shared and record.key != key):
                    continue
                piece = answer.piece_of(record.value, record.offset)
                if piece is not None:
                    yield piece
                if isinstance(piece, AnswerEnded):
                    return

    async def _next_records(
        self, place: LogPlace, offset: int, ends_at_s: float, answer: FollowedAnswer
    ) -> tuple[list[LogRecord], int]:
        """What comes next, at most FETCH_WAIT_MS later, and the offset after it."""
        try:
            async with asyncio.timeout_at(ends_at_s):
                fetched = await self._log.fetch(place.topic, place.partition, offset, wait_ms=FETCH_WAIT_MS)
        except TimeoutError:
            raise AnswerTimedOut(
                f"turn {answer.turn} had not ended in time; it goes on, and sending it again with the same prompt_id "
                "shows its answer"
            ) from None
        except OffsetOutOfRange as error:
            if answer.seen or offset > error.end:
                raise AnswerLost("the session's log was deleted or has expired while it was read") from error
            return [], error.start
        except UnknownLog as error:
            raise AnswerLost("the session's log was deleted while it was read") from error
        except LogUnavailable as error:
            log.warning("answer_waits_for_broker", reason=str(error))
            await asyncio.sleep(AWAY_PAUSE_S)
            return [], offset
        return fetched.records, fetched.next_offset


class FollowedAnswer:
    """The fold of one session, looked at from one of its prompts. No I/O."""

    def __init__(self, prompt: PromptSubmitted) -> None:
        self._prompt = prompt
        user, session = check_user_id(prompt.user), check_session_id(prompt.session)
        self.turn = turn_id_of(user, session, check_prompt_id(prompt.prompt_id))
        self.seen = False
        """Whether the turn has been opened in what was read."""
        self._fold = SessionFold()
        self._chunks: list[str] = []

    def piece_of(self, raw: bytes, offset: int) -> AnswerPiece | None:
        """What a record of the session's log means to this prompt; None = nothing. Raises AnswerLost."""
        try:
            event = decode_session_event(raw)
        except SchemaError:
            return None  # written by a newer build: nothing that this one could show
        verdict = self._fold.apply(event, offset)
        if isinstance(event, PromptRefused):
            return self._refused(event)
        if isinstance(event, ComparisonEnded):
            return None
        if event.turn != self.turn:
            return None
        if verdict is Verdict.HOLE:
            raise AnswerLost("a part of the answer is missing from the session's log")
        return self._effective(event) if verdict is Verdict.EFFECTIVE else None

    def _effective(self, event: SessionEvent) -> AnswerPiece | None:
        match event:
            case TurnQueued():
                self.seen = True
                if (event.input, event.messages) != (self._prompt.input, self._prompt.messages):
                    return self._rejected("id_reused", "this prompt_id was used for another prompt; take a new one")
            case TurnStarted():
                if not event.from_seq:  # else the text so far stands, and goes on
                    self._chunks.clear()
                return AnswerStarted(event.attempt, event.model, event.cause)
            case TokensEmitted():
                self._chunks.extend(event.chunks)
                return AnswerText("".join(event.chunks))
            case TurnEnded():
                return self._ended(event)
        return None

    def _ended(self, event: TurnEnded) -> AnswerEnded:
        text = "".join(self._chunks)
        if event.text_sha256 and event.text_sha256 != text_hash(text):
            raise AnswerLost("the answer read is not the answer given; read it again")
        return AnswerEnded(
            turn=self.turn,
            reason=event.reason,
            text=text,
            usage=event.usage,
            cost_nano_usd=event.cost_nano_usd,
            error=event.error,
        )

    def _refused(self, event: PromptRefused) -> AnswerEnded | None:
        """An open turn is ours whatever befell another prompt that tried to use its id."""
        if event.prompt_id != self._prompt.prompt_id or self.seen:
            return None
        return self._rejected(event.code, event.message)

    def _rejected(self, code: str, message: str) -> AnswerEnded:
        return AnswerEnded(self.turn, "rejected", error=TurnError(code=code, message=message))
