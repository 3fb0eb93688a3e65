"""A scorer of the operator's: how it is found, and what it can't break."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from infra.settings import SettingsError
from processors.turns.answer_scorer import AnswerScorer, load_scorer
from processors.turns.decisions.answer_scoring import score_answers

__all__: list[str] = []

ANSWERS = ["One.", "Two, and more of it."]


def by_length(_: str, answers: list[str]) -> list[float]:
    return [float(len(answer)) for answer in answers]


async def coroutine(_: str, __: list[str]) -> list[float]:
    return []


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module of scorers that can be imported."""
    found = ModuleType("scorers_of_mine")
    found.__dict__.update(by_length=by_length, coroutine=coroutine, number=3, narrow=lambda question: [question])
    monkeypatch.setitem(sys.modules, "scorers_of_mine", found)
    return found


def test_scorer_that_is_named(module: ModuleType) -> None:
    """It is found and asked; none is named by default."""
    scorer = load_scorer(f"{module.__name__}:by_length")

    assert asyncio.run(AnswerScorer(scorer).scores("?", ANSWERS)) == [4.0, 20.0]
    assert load_scorer("") is None
    assert asyncio.run(AnswerScorer().scores("?", ANSWERS)) == score_answers("?", ANSWERS)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("scorers_of_mine", "package.module:function"),
        (":by_length", "package.module:function"),
        ("not_there_at_all:scorer", "can't be imported (ModuleNotFoundError"),
        ("scorers_of_mine:absent", "no function absent"),
        ("scorers_of_mine:number", "no function number"),
        ("scorers_of_mine:coroutine", "coroutine"),
        ("scorers_of_mine:narrow", "scorer(question, answers)"),
    ],
)
def test_name_that_leads_nowhere(module: ModuleType, name: str, words: str) -> None:
    """The worker does not start, and says which setting to mend and how."""
    with pytest.raises(SettingsError) as caught:
        load_scorer(name)

    assert module is not None
    assert "TOKENWIRE_SCORER" in str(caught.value)
    assert words in str(caught.value)


def raising(*_: object) -> Any:
    raise ValueError


def blocking(*_: object) -> Any:
    time.sleep(0.5)


@pytest.mark.parametrize(
    "scorer",
    [
        raising,
        blocking,
        lambda *_: None,
        lambda *_: [1.0],
        lambda *_: [1.0, float("nan")],
        lambda *_: [1.0, float("inf")],
        lambda *_: ["good", "bad"],
    ],
)
def test_scorer_that_does_wrong(scorer: Callable[..., Any]) -> None:
    """Ours takes its place."""
    assert asyncio.run(AnswerScorer(scorer, limit_s=0.1).scores("?", ANSWERS)) == score_answers("?", ANSWERS)
