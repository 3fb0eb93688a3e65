"""What a record of a session's log means to one of its prompts."""

from __future__ import annotations

import msgspec
import pytest

from producers.answers.followed_answer import (
    AnswerEnded,
    AnswerPiece,
    AnswerQueued,
    AnswersCompared,
    AnswerStarted,
    AnswerText,
    FollowedAnswer,
)
from producers.errors import AnswerLost
from schemas.codec import encode
from schemas.prompts import CompareMode, PromptSubmitted, turns_of
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
    TurnWaiting,
)
from schemas.turn_fold import text_hash

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
    """Taken in, start, text, end; a record of a newer build or of another turn says nothing."""
    ended = TurnEnded(turn=TURN, attempt=1, run="a", reason="complete")
    other = TurnQueued(turn="other", prompt_id="q", input="?")
    told = pieces(QUEUED, other, STARTED, b'{"type": "from.the.future"}', tokens(0, "a", "b"), ended)

    assert told == [
        AnswerQueued(0),
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


def test_prompt_that_was_turned_away_is_known_by_its_beginning() -> None:
    """The log keeps the first 1,024 characters of it, or none of its messages."""
    prompt = PromptSubmitted(user="u", session="s", prompt_id="p", input="x" * 5_000)
    queued = TurnQueued(turn=TURN, prompt_id="p", input="x" * 1_024)

    assert FollowedAnswer(prompt).piece_of(encode(queued), 0) == AnswerQueued(0)


def test_wait_is_told_with_its_place() -> None:
    """In the session first, then in a provider's line."""
    told = pieces(
        TurnQueued(turn=TURN, prompt_id="p", input="Hi", position=2),
        TurnWaiting(turn=TURN, position=1, eta_s=3.0),
    )

    assert told == [AnswerQueued(2), AnswerQueued(1, 3.0, at_provider=True)]


def test_answer_that_another_target_goes_on_with_keeps_its_text() -> None:
    """A continued attempt adds to the text, one that begins anew voids it; the end carries the whole."""
    going_on = TurnStarted(turn=TURN, attempt=2, run="b", model="n", cause="failover", from_seq=1)
    rest = TokensEmitted(turn=TURN, attempt=2, run="b", seq=1, chunks=("b",))
    ended = TurnEnded(turn=TURN, attempt=2, run="b", reason="complete", text_sha256=text_hash("ab"))
    told = pieces(QUEUED, STARTED, tokens(0, "a"), going_on, rest, ended)

    assert told[3] == AnswerStarted(2, "n", "failover", continues=True)
    assert told[5] == AnswerEnded(TURN, "complete", "ab")


@pytest.mark.parametrize(
    "other",
    [
        PromptSubmitted(user="u", session="s", prompt_id="p", input="Hi", model="m"),
        PromptSubmitted(user="u", session="s", prompt_id="p", input="Hi", models=("a", "b")),
    ],
)
def test_same_words_to_another_model_are_another_prompt(other: PromptSubmitted) -> None:
    """Its answer is not passed off as this one's; whoever knows the ids alone does not ask."""
    told = FollowedAnswer(other).piece_of(encode(QUEUED), 0)

    assert isinstance(told, AnswerEnded)
    assert told.reason == "rejected"
    assert FollowedAnswer(other, known=False).piece_of(encode(QUEUED), 0) == AnswerQueued(0)


class Comparison:
    """A comparison whose log is written turn by turn."""

    def __init__(self, mode: CompareMode) -> None:
        self.prompt = PromptSubmitted(
            user="u", session="s", prompt_id="p", input="Hi", models=("a", "b"), compare=mode, merge_model="c"
        )
        self.turns = turns_of(self.prompt)
        self.models = ("a", "b", "c")[: len(self.turns)]
        self.answer = FollowedAnswer(self.prompt)
        self.offset = 0

    def tell(self, event: SessionEvent) -> AnswerPiece | None:
        self.offset += 1
        return self.answer.piece_of(encode(event), self.offset)

    def end(self, index: int, reason: EndReason = "complete") -> AnswerPiece | None:
        turn, model = self.turns[index], self.models[index]
        self.tell(TurnQueued(turn=turn, prompt_id="p", input="Hi", model=model, models=self.models, index=index))
        self.tell(TurnStarted(turn=turn, attempt=1, run="r", model=model))
        assert self.tell(TokensEmitted(turn=turn, attempt=1, run="r", seq=0, chunks=(model,))) == AnswerText(
            model, index
        )
        return self.tell(TurnEnded(turn=turn, attempt=1, run="r", reason=reason))


def test_answers_of_a_comparison_are_labelled_and_it_is_over_with_the_last() -> None:
    """Where each stands or the first one wins, nothing more is said after the last end."""
    for mode in ("all", "first"):
        comparison = Comparison(mode)
        second = comparison.end(1)
        over_at_first = comparison.answer.over
        comparison.end(0, "cancelled")

        assert second == AnswerEnded(comparison.turns[1], "complete", "b", index=1)
        assert (over_at_first, comparison.answer.over) == (False, True)


def test_choice_is_waited_for_whenever_there_is_one_to_make() -> None:
    """It may come before or after the last end; of no whole answer none is chosen."""
    best = Comparison("best")
    best.end(0)
    best.end(1)
    over_before = best.answer.over
    chosen = ComparisonEnded(prompt_id="p", mode="best", turn=best.turns[1], scores={best.turns[1]: 0.5})
    told = best.tell(chosen)

    assert (over_before, best.answer.over) == (False, True)
    assert told == AnswersCompared("best", 1, {1: 0.5})
    assert best.tell(chosen) is None
    merge = Comparison("merge")
    merge.tell(ComparisonEnded(prompt_id="other", mode="best"))
    for index in range(2):
        merge.end(index, "error")
    assert merge.answer.over


def test_merge_that_had_nothing_to_do_is_not_waited_for() -> None:
    """Of one whole answer none is made: the log says that it stands."""
    merge = Comparison("merge")
    merge.end(0)
    merge.end(1, "error")
    over_before = merge.answer.over
    told = merge.tell(ComparisonEnded(prompt_id="p", mode="merge", turn=merge.turns[0]))

    assert (over_before, merge.answer.over) == (False, True)
    assert told == AnswersCompared("merge", 0)


def test_comparison_refused_as_a_whole_is_over_at_once() -> None:
    """One end tells it."""
    comparison = Comparison("all")
    told = comparison.tell(PromptRefused(prompt_id="p", code="id_reused", message="…"))

    assert isinstance(told, AnswerEnded)
    assert comparison.answer.over


def refused(try_offset: int) -> PromptRefused:
    return PromptRefused(
        prompt_id="p",
        code="session_busy",
        message="later",
        turns=(TURN,),
        try_offset=try_offset,
        temporary=True,
        retry_after_s=1.5,
    )


REFUSED_ENDED = AnswerEnded(
    TURN,
    "rejected",
    error=TurnError(code="session_busy", message="later", temporary=True, retry_after_s=1.5),
    for_now=True,
)


def test_sender_is_told_of_its_own_sending() -> None:
    """Refusals of earlier ones are nothing to it; its own is the end, and so is that of a later one."""
    log = [refused(3), refused(9)]
    own, later = FollowedAnswer(PROMPT, sent=9), FollowedAnswer(PROMPT, sent=5)

    assert [own.piece_of(encode(event), offset) for offset, event in enumerate(log)] == [None, REFUSED_ENDED]
    assert [later.piece_of(encode(event), offset) for offset, event in enumerate(log)] == [None, REFUSED_ENDED]
    assert own.over
    assert later.over


def test_sender_whose_earlier_sending_was_refused_is_answered() -> None:
    """The log is read from its beginning: the refusal lies on it, and the answer behind."""
    answer = FollowedAnswer(PROMPT, sent=9)
    queued = msgspec.structs.replace(QUEUED, try_offset=9)
    ended = TurnEnded(turn=TURN, attempt=1, run="a", reason="complete")
    told = [answer.piece_of(encode(event), at) for at, event in enumerate((refused(5), queued, STARTED, ended))]

    assert told == [None, AnswerQueued(0), AnswerStarted(1, "m", "first"), AnswerEnded(TURN, "complete")]
    assert answer.over


def test_watcher_is_told_of_each_refusal_and_goes_on() -> None:
    """Whoever sends the prompt may send it again."""
    answer = FollowedAnswer(PROMPT, known=False)
    told = [answer.piece_of(encode(refused(sending)), sending) for sending in (5, 6)]

    assert (told, answer.over) == ([REFUSED_ENDED, REFUSED_ENDED], False)
    assert answer.piece_of(encode(msgspec.structs.replace(QUEUED, try_offset=9)), 10) == AnswerQueued(0)
