"""What several answers come to."""

from __future__ import annotations

import pytest

from processors.turns.decisions.comparison import (
    Answer,
    Comparison,
    Merge,
    Open,
    Score,
    Settled,
    best_of,
    decide_comparison,
)
from schemas.prompts import CompareMode

__all__: list[str] = []

WHOLE_A = Answer("a", "complete", ended_at=9)
WHOLE_B = Answer("b", "complete", ended_at=5)
FAILED = Answer("f", "error")
STOPPED = Answer("s", "cancelled")
FORGOTTEN = Answer("r", "superseded", forgotten=True)
OPEN = Answer("o")


@pytest.mark.parametrize(
    ("mode", "answers", "decision"),
    [
        ("all", [WHOLE_A, OPEN], Open()),
        ("all", [WHOLE_A, WHOLE_B], Settled("a")),
        ("all", [FAILED, WHOLE_B], Settled("b")),
        ("all", [FAILED, STOPPED], Settled("")),
        ("all", [WHOLE_A, FORGOTTEN], Settled("")),
        ("first", [OPEN, FAILED], Open()),
        ("first", [OPEN, WHOLE_B], Settled("b")),
        ("first", [WHOLE_A, WHOLE_B], Settled("b")),
        ("first", [FAILED, STOPPED], Settled("")),
        ("best", [WHOLE_A, OPEN], Open()),
        ("best", [WHOLE_A, FAILED, WHOLE_B], Score(("a", "b"))),
        ("best", [WHOLE_A, FAILED], Settled("a")),
        ("best", [FAILED], Settled("")),
        ("merge", [WHOLE_A, OPEN], Open()),
        ("merge", [WHOLE_A, FAILED, WHOLE_B], Merge(("a", "b"))),
        ("merge", [WHOLE_A, STOPPED, WHOLE_B], Settled("a")),
        ("merge", [WHOLE_A, FAILED], Settled("a")),
        ("merge", [FAILED, FAILED], Settled("")),
        ("merge", [WHOLE_A, FORGOTTEN], Settled("")),
    ],
)
def test_endings(mode: CompareMode, answers: list[Answer], decision: Comparison) -> None:
    """Each mode's choice, while turns are open and when all have ended."""
    assert decide_comparison(mode, answers) == decision


@pytest.mark.parametrize(
    ("merged", "decision"),
    [
        (Answer("m"), Open()),
        (Answer("m", "complete"), Settled("m")),
        (Answer("m", "error"), Settled("a")),
        (Answer("m", "superseded", forgotten=True), Settled("")),
    ],
)
def test_merged(merged: Answer, decision: Comparison) -> None:
    """The merged answer, or the first whole one where there is none."""
    assert decide_comparison("merge", [WHOLE_A, WHOLE_B], merged=merged) == decision


def test_merge_that_somebody_stopped_before_it_began() -> None:
    """The first whole answer stays."""
    assert decide_comparison("merge", [WHOLE_A, WHOLE_B], may_merge=False) == Settled("a")


def test_best() -> None:
    """The highest score; of equals the first model's."""
    assert best_of(("a", "b", "c"), {"a": 0.1, "b": 0.5, "c": 0.5}) == "b"
