"""Answers on a terminal: one streams, several are shown whole, each under its own line."""

from __future__ import annotations

import json

import click
import pytest

from producers.answers.followed_answer import AnswerEnded, AnswerQueued, AnswersCompared, AnswerStarted, AnswerText
from schemas.prompts import CompareMode, PromptSubmitted
from schemas.session_events import TurnError, Usage
from tokenwire.commands.answer_display import AnswerDisplay, display_of, waits

ONE = PromptSubmitted(user="u", session="s1", prompt_id="p", input="Hi")


def several(mode: CompareMode = "best") -> PromptSubmitted:
    return PromptSubmitted(user="u", session="s1", prompt_id="p", input="Hi", models=("a", "b"), compare=mode)


def take_both(display: AnswerDisplay) -> None:
    for piece in (
        AnswerQueued(0),
        AnswerStarted(1, "a", "first", index=0),
        AnswerStarted(1, "b", "first", index=1),
        AnswerText("from a ", 0),
        AnswerText("all of b", 1),
        AnswerEnded("t1", "complete", "all of b", Usage(input_tokens=2, output_tokens=3), 1_000, index=1),
        AnswerText("and more", 0),
        AnswerEnded("t0", "error", "from a and more", error=TurnError(code="x", message="it broke"), index=0),
        AnswersCompared("best", 1, {1: 0.75}),
    ):
        display.take(piece)
    display.close()


def test_one_answer_streams(capsys: pytest.CaptureFixture[str]) -> None:
    """Text as it comes; a new attempt and the end are told beside it, not in it."""
    display = display_of(ONE, as_json=False)
    for piece in (
        AnswerQueued(2),
        AnswerStarted(1, "m", "first"),
        AnswerText("It is "),
        AnswerStarted(2, "n", "failover", continues=True),
        AnswerText("blue."),
        AnswerEnded("t", "complete", "It is blue."),
    ):
        display.take(piece)
    display.close()
    told = capsys.readouterr()

    assert told.out == "It is blue.\n"
    assert "goes on (attempt 2: failover)" in told.err
    assert "session s1" in told.err
    assert display.good


def test_several_answers_do_not_run_into_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    """Each whole, in the order of ending, under its model; which was chosen is told last."""
    take_both(display_of(several(), as_json=False))
    told = capsys.readouterr()
    lines = click.unstyle(told.out).splitlines()

    assert lines[0].startswith("── b · complete · 2 + 3 tokens · $0.000001 · first after")
    assert (lines[1], lines[4]) == ("all of b", "from a and more")
    assert lines[3].startswith("── a · error")
    assert "it broke" in lines[5]
    assert click.unstyle(told.err).strip() == "1 of 2 complete · best: b (b 0.75) · $0.000001 · session s1"


def test_several_answers_as_json_are_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    """By model, with the one chosen."""
    take_both(display_of(several(), as_json=True))
    told = json.loads(capsys.readouterr().out)

    assert [(each["model"], each["reason"]) for each in told["answers"]] == [("a", "error"), ("b", "complete")]
    assert told["chosen"] == {"mode": "best", "index": 1, "scores": {"1": 0.75}}


@pytest.mark.parametrize(("mode", "good"), [("all", False), ("first", True), ("best", True), ("merge", True)])
def test_exit_code_says_whether_what_was_asked_for_is_there(mode: CompareMode, good: bool) -> None:
    """All answers where each stands; else one whole answer is enough."""
    display = AnswerDisplay(several(mode))
    display.take(AnswerEnded("t0", "complete", index=0))
    display.take(AnswerEnded("t1", "cancelled", index=1))

    assert display.good is good


@pytest.mark.parametrize(
    ("queued", "words"),
    [
        (AnswerQueued(2, 3.0, at_provider=True), "Waiting: 2 before it at the provider, about 3 s …"),
        (AnswerQueued(0, waits_for="server"), "Waiting for the model's server to be started …"),
        (AnswerQueued(0, waits_for="model"), "Waiting for the model to be loaded …"),
        (AnswerQueued(0, waits_for="answer"), "The model has not begun to answer yet;"),
    ],
)
def test_what_a_prompt_waits_for(queued: AnswerQueued, words: str) -> None:
    """In plain words, before and after it has started."""
    assert waits(queued).startswith(words)
