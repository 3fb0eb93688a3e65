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
from dataclasses import dataclass
from typing import Final

import structlog

from infra.decisions.backoff import Backoff
from infra.kafka.log_client import LogClient, LogError, LogRecord, LogUnavailable, OffsetOutOfRange, UnknownLog
from infra.kafka.session_topics import SessionTopics, SessionTopicsError
from infra.settings import Settings
from producers.answers.followed_answer import (
    AnswerEnded,
    AnswerPiece,
    AnswerQueued,
    AnswersCompared,
    AnswerStarted,
    AnswerText,
    FollowedAnswer,
)
from producers.errors import AnswerLost, AnswerTimedOut, AnswerUnavailable
from schemas.identifiers import check_session_id, check_user_id, session_key_of
from schemas.prompts import PromptSubmitted
from schemas.topics import LogPlace

__all__ = [
    "AnswerEnded",
    "AnswerPiece",
    "AnswerQueued",
    "AnswerReader",
    "AnswerStart",
    "AnswerStarted",
    "AnswerText",
    "AnswersCompared",
    "FollowedAnswer",
]

FETCH_WAIT_MS: Final = 500
AWAY_BACKOFF: Final = Backoff(0.2)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class AnswerStart:
    """Where to begin reading."""

    place: LogPlace
    offset: int


class AnswerReader:
    """Follows answers, one at a time. `topics` may be shared with other readers and is started by its owner."""

    def __init__(self, settings: Settings, topics: SessionTopics) -> None:
        self._topics = topics
        self._log = LogClient(settings, role="answers")

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
        except (LogError, SessionTopicsError) as error:
            raise AnswerUnavailable(f"the session's log cannot be read now: {error}") from error
        return AnswerStart(place, bounds.start if from_start else bounds.end)

    async def follow(
        self,
        prompt: PromptSubmitted,
        start: AnswerStart,
        *,
        deadline_s: float,
        known: bool = True,
        sent: int | None = None,
    ) -> AsyncIterator[AnswerPiece]:
        """The pieces of the answer, the last one an AnswerEnded; of several answers, labelled, until all have ended.

        Of several, AnswersCompared says which one was chosen or made of them. `known`: the prompt is the one that was
        published, word for word; False: only its ids and models are. `sent`: the offset of its record, whose fate is
        told; None: somebody else sends it, and a refusal for now is not the end. Raises AnswerTimedOut, AnswerLost. A
        broker that is away is waited for until the deadline.
        """
        answer = FollowedAnswer(prompt, known=known, sent=sent)
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
                if answer.over:
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
            await asyncio.sleep(AWAY_BACKOFF.pause_s())
            return [], offset
        return fetched.records, fetched.next_offset
