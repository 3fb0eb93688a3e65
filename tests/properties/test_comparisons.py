"""Comparisons, merge questions and scores, whatever the models say and however their turns end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from processors.attempts.decisions.merge_question import TASK, merge_question
from processors.turns.decisions.answer_scoring import score_answers
from processors.turns.decisions.comparison import Answer, Merge, Open, Score, Settled, decide_comparison
from schemas.prompts import CompareMode
from schemas.session_events import EndReason

__all__: list[str] = []

MODES: st.SearchStrategy[CompareMode] = st.sampled_from(["all", "first", "best", "merge"])
REASONS: st.SearchStrategy[EndReason | None] = st.sampled_from(
    [None, "complete", "incomplete", "cancelled", "superseded", "error", "rejected"]
)


@st.composite
def answers(draw: st.DrawFn) -> list[Answer]:
    count = draw(st.integers(1, 5))
    offsets = draw(st.permutations(range(count)))
    return [
        Answer(f"t{number}", draw(REASONS), forgotten=draw(st.integers(0, 9)) == 0, ended_at=offsets[number])
        for number in range(count)
    ]


@given(MODES, answers(), st.booleans(), st.none() | st.builds(Answer, st.just("m"), REASONS))
def test_only_whole_answers_are_chosen(
    mode: CompareMode, drawn: list[Answer], may_merge: bool, merged: Answer | None
) -> None:
    """And, but for the first to be complete, none before every turn has ended."""
    decision = decide_comparison(mode, drawn, merged=merged, may_merge=may_merge)

    complete = {answer.turn for answer in [*drawn, *([merged] if merged else [])] if answer.reason == "complete"}
    match decision:
        case Settled(turn):
            assert turn == "" or turn in complete
            assert mode == "first" or all(answer.reason for answer in drawn)
        case Score(turns) | Merge(turns):
            assert set(turns) <= complete
            assert len(turns) > 1
            assert all(answer.reason for answer in drawn)
        case Open():
            assert any(answer.reason is None for answer in [*drawn, *([merged] if merged else [])])


@given(answers())
def test_first_stays_first(drawn: list[Answer]) -> None:
    """Whoever has won at one time has won at every later time, in whatever order the rest ends."""
    whole = [answer for answer in drawn if answer.reason]
    order = sorted(whole, key=lambda answer: answer.ended_at)
    winner = ""
    for ended in range(len(order) + 1):
        known = [answer if answer in order[:ended] else Answer(answer.turn) for answer in drawn]
        decision = decide_comparison("first", known)
        if winner:
            assert decision == Settled(winner)
        if isinstance(decision, Settled):
            winner = decision.turn


@given(
    st.text(max_size=50),
    st.lists(st.tuples(st.text(max_size=9), st.text(max_size=300)), max_size=8),
    st.integers(0, 900),
)
def test_merge_question_fits(question: str, drawn: list[tuple[str, str]], tokens_max: int) -> None:
    """The question is whole; the answers take no more than the room that there is."""
    asked = merge_question(question, drawn, tokens_max=tokens_max, count=len)
    bare = merge_question(question, [(model, "") for model, _ in drawn], tokens_max=0, count=len)

    assert asked.startswith(TASK)
    assert f"Question:\n{question}" in asked
    assert len(asked) <= max(tokens_max, len(bare) + 4 * len(drawn))
    if tokens_max > len(bare) + sum(len(text) + 6 for _, text in drawn):
        assert all(text in asked for _, text in drawn)


@given(st.text(max_size=99), st.lists(st.text(max_size=500), max_size=6))
def test_scores_are_scores(question: str, drawn: list[str]) -> None:
    """One for each answer, between 0 and 1, the same every time."""
    scores = score_answers(question, drawn)

    assert len(scores) == len(drawn)
    assert all(0.0 <= score <= 1.0 for score in scores)
    assert scores == score_answers(question, drawn)
