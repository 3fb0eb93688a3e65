"""What a record of a session's log means to one of its prompts."""

from __future__ import annotations

import pytest

from producers.answer_reader import AnswerEnded, AnswerPiece, AnswerStarted, AnswerText, FollowedAnswer
from producers.errors import AnswerLost
from schemas.codec import encode
from schemas.prompts import PromptSubmitted
from schemas.session_events import (
    PromptRefused,
    SessionEvent,
    TokensEmitted,
    TurnEnded,
    TurnQueued,
    TurnStarted,
)

PROMPT = PromptSubmitted(user="u", session="s", prompt_id="p", input="Hi")


def pieces(*events: SessionEvent | bytes) -> list[AnswerPiece | None]:
    answer = FollowedAnswer(PROMPT)
    return [
        answer.piece_of(event if isinstance(event, bytes) else encode(event), offset)
        for offset, event in enumerate(events)
    ]


TURN = FollowedAnswer(PROMPT).turn
QUEUED = TurnQueued(turn=TURN, prompt_id="p", input="Hi")
STARTED = TurnStarted(turn=TURN, attempt=1, run="a", model="m")


def tokens(seq: int, *chunks: str) -> TokensEmitted:
    return TokensEmitted(turn=TURN, attempt=1, run="a", seq=seq, chunks=chunks)


def test_answer_comes_in_pieces() -> None:
    """Start, text, end; a record of a newer build or of another turn says nothing."""
    ended = TurnEnded(turn=TURN, attempt=1, run="a", reason="complete")
    other = TurnQueued(turn="other", prompt_id="q", input="?")
    told = pieces(QUEUED, other, STARTED, b'{"type": "from.the.future"}', tokens(0, "a", "b"), ended)

    assert told == [
        None,
        None,
        AnswerStarted(1, "m", "first"),
        None,
        AnswerText("ab"),
        AnswerEnded(TURN, "complete", "ab"),
    ]


def test_chunks_told_twice_are_shown_once() -> None:
    """An append that was repeated changes nothing."""
    told = pieces(QUEUED, STARTED, tokens(0, "a"), tokens(0, "a"), tokens(1, "b"))

    assert told[2:] == [AnswerText("a"), None, AnswerText("b")]


def test_missing_chunks_are_an_error_not_a_gap() -> None:
    """A hole in the log is never passed over."""
    with pytest.raises(AnswerLost, match="missing"):
        pieces(QUEUED, STARTED, tokens(1, "b"))


def test_text_that_is_not_the_one_given_is_an_error() -> None:
    """The hash at the end is checked."""
    ended = TurnEnded(turn=TURN, attempt=1, run="a", reason="complete", text_sha256="0" * 64)
    with pytest.raises(AnswerLost, match="not the answer given"):
        pieces(QUEUED, STARTED, tokens(0, "a"), ended)


def test_prompt_refused_before_it_had_a_turn_ends_rejected() -> None:
    """The refusal's own code and words reach the caller."""
    (told,) = pieces(PromptRefused(prompt_id="p", code="busy", message="too many wait"))

    assert isinstance(told, AnswerEnded)
    assert told.reason == "rejected"
    assert told.error is not None
    assert (told.error.code, told.error.message) == ("busy", "too many wait")


def test_refusal_of_somebody_elses_attempt_at_our_id_is_not_ours() -> None:
    """Once our turn is open, another body under its id changes nothing for us."""
    assert pieces(QUEUED, PromptRefused(prompt_id="p", code="id_reused", message="…"))[1] is None


def test_turn_of_another_body_is_not_our_answer() -> None:
    """The same id was used for other words before: ours is the one refused."""
    told = pieces(TurnQueued(turn=TURN, prompt_id="p", input="Something else"))[0]

    assert isinstance(told, AnswerEnded)
    assert told.error is not None
    assert told.error.code == "id_reused"
