from __future__ import annotations

import msgspec
import pytest

from schemas.prompts import ChatMessage
from schemas.session_events import PromptRefused, SessionEvent, TokensEmitted, TurnEnded, TurnQueued, TurnStarted
from schemas.turn_fold import (
    ENDED_TURNS_KEPT_MAX,
    ENDED_TURNS_WHOLE_MAX,
    REFUSED_KEPT_MAX,
    SessionFold,
    Verdict,
    text_hash,
)

__all__: list[str] = []

QUEUED = TurnQueued(turn="t", prompt_id="p", input="Why?")
STARTED = TurnStarted(turn="t", attempt=1, run="r1")
FIRST = TokensEmitted(turn="t", attempt=1, run="r1", seq=0, chunks=("a", "b"), gaps_us=(5, 6), at_us=10)
SECOND = TokensEmitted(turn="t", attempt=1, run="r1", seq=2, chunks=("c",), gaps_us=(7,), at_us=20)
ENDED = TurnEnded(turn="t", attempt=1, run="r1", reason="complete")
STARTED_AGAIN = TurnStarted(turn="t", attempt=2, run="r2", cause="crash")


def fold_of(*events: SessionEvent, keep_text: bool = True) -> tuple[SessionFold, list[Verdict]]:
    fold = SessionFold(keep_text=keep_text)
    return fold, [fold.apply(event, offset) for offset, event in enumerate(events)]


def test_plain_turn_is_folded_to_its_text() -> None:
    """Queued, started, tokens, ended: all count, and the turn holds text, gaps and times."""
    fold, verdicts = fold_of(QUEUED, STARTED, FIRST, SECOND, ENDED)
    turn = fold.turns["t"]

    assert set(verdicts) == {Verdict.EFFECTIVE}
    assert (turn.text, turn.next_seq, turn.attempt, turn.run) == ("abc", 3, 1, "r1")
    assert turn.current is not None
    assert (turn.current.gaps_us, turn.current.first_at_us, turn.current.last_at_us) == ([5, 6, 7], 10, 20)
    assert (turn.first_offset, turn.last_offset, turn.ended) == (0, 4, ENDED)
    assert (fold.next_offset, fold.read_from(), list(fold.open_turns())) == (5, 5, [])


@pytest.mark.parametrize(
    ("before", "event", "verdict"),
    [
        ([], STARTED, Verdict.UNKNOWN_TURN),
        ([], ENDED, Verdict.UNKNOWN_TURN),
        ([QUEUED], QUEUED, Verdict.REPEATED),
        ([QUEUED], FIRST, Verdict.OTHER_RUN),
        ([QUEUED], ENDED, Verdict.OTHER_RUN),
        ([QUEUED, STARTED], STARTED, Verdict.OTHER_RUN),
        ([QUEUED, STARTED], TurnStarted(turn="t", attempt=1, run="rx"), Verdict.OTHER_RUN),
        ([QUEUED, STARTED], TurnEnded(turn="t", attempt=0, run="", reason="cancelled"), Verdict.OTHER_RUN),
        ([QUEUED, STARTED, FIRST], FIRST, Verdict.REPEATED),
        ([QUEUED, STARTED], SECOND, Verdict.HOLE),
        ([QUEUED, STARTED, STARTED_AGAIN], FIRST, Verdict.OTHER_RUN),
        ([QUEUED, STARTED, STARTED_AGAIN], ENDED, Verdict.OTHER_RUN),
        ([QUEUED, STARTED, ENDED], STARTED_AGAIN, Verdict.AFTER_END),
        ([QUEUED, STARTED, ENDED], FIRST, Verdict.AFTER_END),
        ([QUEUED, STARTED, ENDED], ENDED, Verdict.AFTER_END),
        ([QUEUED, STARTED, ENDED], QUEUED, Verdict.REPEATED),
    ],
)
def test_record_that_does_not_count_is_told_why(
    before: list[SessionEvent], event: SessionEvent, verdict: Verdict
) -> None:
    """Each way of not counting has its own verdict."""
    fold, _ = fold_of(*before)

    assert fold.apply(event, len(before)) is verdict


def test_later_attempt_voids_the_earlier_run() -> None:
    """R7: after a crash the new run begins at chunk 0 and the old text is kept apart."""
    anew = TokensEmitted(turn="t", attempt=2, run="r2", seq=0, chunks=("x",))
    fold, verdicts = fold_of(QUEUED, STARTED, FIRST, STARTED_AGAIN, SECOND, anew)
    turn = fold.turns["t"]

    assert verdicts[-2:] == [Verdict.OTHER_RUN, Verdict.EFFECTIVE]
    assert (turn.text, turn.next_seq) == ("x", 1)
    assert [(run.run, run.chunks) for run in turn.void_runs] == [("r1", ["a", "b"])]


def test_woken_zombie_changes_nothing() -> None:
    """R12: what a frozen owner of attempt 1 writes after attempt 2 has ended is void."""
    ended = TurnEnded(turn="t", attempt=2, run="r2", reason="complete")
    fold, verdicts = fold_of(QUEUED, STARTED, FIRST, STARTED_AGAIN, ended, SECOND, ENDED)

    assert verdicts[-2:] == [Verdict.AFTER_END, Verdict.AFTER_END]
    assert fold.turns["t"].ended == ended


def test_turn_that_never_started_ends_at_attempt_zero() -> None:
    """A rejected or cancelled prompt has no run; its ending counts while nothing has started."""
    rejected = TurnEnded(turn="t", attempt=0, run="", reason="rejected")
    fold, verdicts = fold_of(QUEUED, rejected, STARTED)
    turn = fold.turns["t"]

    assert verdicts == [Verdict.EFFECTIVE, Verdict.EFFECTIVE, Verdict.AFTER_END]
    assert (turn.attempt, turn.run, turn.next_seq, turn.text) == (0, "", 0, "")


def test_refused_prompt_opens_no_turn() -> None:
    """A refusal counts and concerns no turn."""
    fold, verdicts = fold_of(PromptRefused(prompt_id="p", code="id_reused", message="m"))

    assert (verdicts, fold.turns, fold.next_offset) == ([Verdict.EFFECTIVE], {}, 1)


def test_reading_again_does_not_move_the_reader_back() -> None:
    """`next_offset` is one past the newest record, whatever was read twice."""
    fold, _ = fold_of(QUEUED, STARTED, FIRST)
    fold.apply(STARTED, 1)

    assert fold.next_offset == 3


def test_oldest_open_turn_says_where_to_read_from() -> None:
    """A new reader begins at the first record of the oldest turn that has not ended."""
    fold, _ = fold_of(QUEUED, TurnQueued(turn="u", prompt_id="q", input="And?"), STARTED, ENDED)

    assert fold.read_from() == 1
    assert [turn.queued.turn for turn in fold.open_turns()] == ["u"]


def test_ended_turns_are_forgotten_in_order() -> None:
    """Without texts, memory holds the newest ended turns without their prompts, and every open one."""
    fold = SessionFold()
    fold.apply(QUEUED, 0)
    offset = 1
    for number in range(ENDED_TURNS_KEPT_MAX + 10):
        for event in (
            TurnQueued(turn=f"t{number}", prompt_id="p", messages=(ChatMessage(role="user", content="long"),)),
            TurnEnded(turn=f"t{number}", attempt=0, run="", reason="rejected"),
        ):
            fold.apply(event, offset)
            offset += 1

    forgotten, newest = 10, ENDED_TURNS_KEPT_MAX + 10 - ENDED_TURNS_WHOLE_MAX
    assert set(fold.turns) == {"t", *(f"t{number}" for number in range(newest, ENDED_TURNS_KEPT_MAX + 10))}
    assert set(fold.past) == {f"t{number}" for number in range(forgotten, newest)}
    assert fold.turns[f"t{newest}"].queued == TurnQueued(turn=f"t{newest}", prompt_id="p")
    assert fold.turns["t"].queued.input == "Why?"
    assert fold.first_ended_offset() == 1 + 2 * forgotten


def test_what_comes_late_for_a_turn_that_ended_long_ago() -> None:
    """It is known for what it is: a second queueing opens nothing, and a reader that begins later is told of it."""
    fold = SessionFold()
    for number in range(ENDED_TURNS_WHOLE_MAX + 1):
        fold.apply(TurnQueued(turn=f"t{number}", prompt_id="p"), 2 * number)
        fold.apply(TurnEnded(turn=f"t{number}", attempt=0, run="", reason="rejected"), 2 * number + 1)
    end = fold.next_offset
    fold.apply(QUEUED, end)
    before = fold.read_from()
    late = [
        fold.apply(TurnStarted(turn="t0", attempt=1, run="r", provider="p", model="m"), end + 1),
        fold.apply(TurnQueued(turn="t0", prompt_id="p"), end + 2),
        fold.apply(TurnStarted(turn="unknown", attempt=1, run="r", provider="p", model="m"), end + 3),
    ]

    assert late == [Verdict.AFTER_END, Verdict.REPEATED, Verdict.UNKNOWN_TURN]
    assert (before, fold.read_from()) == (end, 0)
    assert [turn.queued.turn for turn in fold.open_turns()] == ["t"]


def test_nothing_has_ended() -> None:
    """There is no first one."""
    fold, _ = fold_of(QUEUED)

    assert fold.first_ended_offset() == -1


def test_with_texts_nothing_is_forgotten() -> None:
    """Who keeps texts wants the history: prompts and answers stay, however many."""
    fold = SessionFold(keep_text=True)
    for number in range(ENDED_TURNS_KEPT_MAX + 10):
        fold.apply(TurnQueued(turn=f"t{number}", prompt_id="p", input="Why?"), 2 * number)
        fold.apply(TurnEnded(turn=f"t{number}", attempt=0, run="", reason="rejected"), 2 * number + 1)

    assert len(fold.turns) == ENDED_TURNS_KEPT_MAX + 10
    assert fold.turns["t0"].queued.input == "Why?"


def test_what_the_user_said_is_input_or_messages() -> None:
    """An input is one user's message; messages are what they are."""
    messages = (ChatMessage(role="system", content="Be brief."), ChatMessage(role="user", content="Why?"))
    fold, _ = fold_of(QUEUED, TurnQueued(turn="u", prompt_id="q", messages=messages))

    assert fold.turns["t"].messages == (ChatMessage(role="user", content="Why?"),)
    assert fold.turns["u"].messages == messages


def test_second_queueing_after_a_forgotten_end_looks_like_a_first() -> None:
    """The stated limit of a fold that begins late: only the journal knows that this turn had ended."""
    fold, _ = fold_of(QUEUED, STARTED, ENDED, QUEUED)
    late = SessionFold()

    assert fold.turns["t"].ended == ENDED
    assert late.apply(QUEUED, 3) is Verdict.EFFECTIVE


def test_hash_of_a_text() -> None:
    """SHA-256 of UTF-8; half a surrogate pair does not stop the ending from being written."""
    assert text_hash("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert len(text_hash("\ud800")) == 64


def test_repeated_queueing_is_read_with_the_first() -> None:
    """A reader that began between the two would take the second for a turn of its own, and its voided ending too."""
    other = TurnQueued(turn="u", prompt_id="q", input="And?")
    fold, _ = fold_of(QUEUED, STARTED, other, QUEUED, ENDED)
    assert fold.read_from() == 0

    without, _ = fold_of(QUEUED, STARTED, other, ENDED)
    assert without.read_from() == 2


def sent(try_offset: int) -> TurnQueued:
    return msgspec.structs.replace(QUEUED, try_offset=try_offset)


def refused(try_offset: int, *turns: str) -> PromptRefused:
    return PromptRefused(prompt_id="p", code="c", message="m", turns=turns or ("t",), try_offset=try_offset)


def test_prompt_that_was_refused_for_now_and_sent_again() -> None:
    """The refusal takes the turn back, with the sending that it refuses; the next one opens it anew."""
    fold, verdicts = fold_of(sent(5), refused(5), sent(5), sent(9), STARTED)

    assert verdicts == [Verdict.EFFECTIVE, Verdict.EFFECTIVE, Verdict.REPEATED, Verdict.EFFECTIVE, Verdict.EFFECTIVE]
    assert (fold.turns["t"].first_offset, fold.turns["t"].try_offset) == (3, 9)
    assert [fold.is_refused("p", "t", sending) for sending in (-1, 5, 6)] == [False, True, False]


@pytest.mark.parametrize(
    ("before", "event", "verdict"),
    [
        ([], refused(5), Verdict.EFFECTIVE),
        ([refused(5)], refused(5), Verdict.REPEATED),
        ([refused(9)], refused(5), Verdict.REPEATED),
        ([refused(5)], refused(9), Verdict.EFFECTIVE),
        ([refused(9)], sent(5), Verdict.REPEATED),
        ([refused(9)], QUEUED, Verdict.EFFECTIVE),  # an older worker's: nobody knows which sending it is
        ([QUEUED], refused(5), Verdict.AFTER_END),
        ([sent(9)], refused(5), Verdict.AFTER_END),
        ([sent(5), sent(9)], refused(5), Verdict.AFTER_END),
        ([sent(5), sent(9)], refused(9), Verdict.EFFECTIVE),
        ([sent(5), STARTED], refused(5), Verdict.AFTER_END),
        ([sent(5), STARTED, ENDED], refused(9), Verdict.AFTER_END),
        ([sent(5), STARTED], refused(5, "t", "u"), Verdict.EFFECTIVE),
    ],
)
def test_refusal_takes_back_what_has_not_begun(
    before: list[SessionEvent], event: SessionEvent, verdict: Verdict
) -> None:
    """Of its own sending and earlier ones; what has begun, has ended or is of a later sending stands."""
    fold, _ = fold_of(*before)

    assert fold.apply(event, len(before)) is verdict


def test_reader_begins_at_the_refusal_behind_which_its_sending_is_queued() -> None:
    """Begun behind it, it would take a void queueing for a turn."""
    other = TurnQueued(turn="u", prompt_id="q", input="And?")
    fold, _ = fold_of(sent(5), refused(5), other, sent(5))
    assert fold.read_from() == 1

    without, _ = fold_of(sent(5), refused(5), other)
    assert without.read_from() == 2


def test_refusals_are_forgotten_in_their_order() -> None:
    """The newest of so many prompts are remembered."""
    fold = SessionFold()
    for number in range(REFUSED_KEPT_MAX + 3):
        event = msgspec.structs.replace(refused(number), prompt_id=f"p{number}")
        fold.apply(event, 2 * number)
        fold.apply(msgspec.structs.replace(event, prompt_id="p0", try_offset=2_000 + number), 2 * number + 1)

    assert len(fold.refused) == REFUSED_KEPT_MAX
    assert fold.is_refused("p0", "t", 2_000)
    assert not fold.is_refused("p3", "t", 3)
    assert fold.is_refused("p4", "t", 4)
