"""Asks the scorer that the settings name, and ours where that one fails.

A scorer is anybody's code: it runs in a thread, for a limited time, and whatever it does wrong costs its own choice
and nothing else. It is found and looked at when the worker starts, so that a wrong name stops the worker and not the
first comparison.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import structlog

from infra.settings import SettingsError
from processors.turns.decisions.answer_scoring import score_answers

__all__ = ["AnswerScorer", "Scorer", "load_scorer"]

log = structlog.get_logger(__name__)

Scorer: TypeAlias = Callable[[str, Sequence[str]], Sequence[float]]
"""Question and answers → a score for each answer; the highest one wins."""

SCORING_S: Final = 10.0
VARIABLE: Final = "TOKENWIRE_SCORER"


class NotScores(Exception):
    """A scorer returned something else than a finite number for each answer."""


class AnswerScorer:
    """Scores answers with `scorer`; None: with the one that ships."""

    def __init__(self, scorer: Scorer | None = None, *, limit_s: float = SCORING_S) -> None:
        self.scorer = scorer
        self._limit_s = limit_s

    async def scores(self, question: str, answers: Sequence[str]) -> list[float]:
        """A score for each answer.

        Cancellation: the scorer's thread goes on to its end; nobody waits for it.
        """
        if self.scorer is not None:
            try:
                async with asyncio.timeout(self._limit_s):
                    return checked(await asyncio.to_thread(self.scorer, question, list(answers)), len(answers))
            except Exception as error:  # noqa: BLE001  # code of the operator's; its message may hold prompt text
                log.error("scorer_failed", error=type(error).__name__)
        return score_answers(question, answers)


def checked(scores: Any, count: int) -> list[float]:
    """The scores as numbers. Raises NotScores, or what they raise when they are looked at."""
    numbers = [float(number) for number in scores]
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise NotScores
    return numbers


def load_scorer(name: str) -> Scorer | None:
    """The function of a setting, `module:function`; None where it is empty. Raises SettingsError."""
    if not name:
        return None
    module_name, colon, function_name = name.partition(":")
    if not (module_name and colon and function_name):
        raise fault(f"must look like package.module:function, not {name!r}")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # importing runs the operator's code
        raise fault(f"the module {module_name} can't be imported ({type(error).__name__}: {error})") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        raise fault(f"{module_name} has no function {function_name}")
    if inspect.iscoroutinefunction(function):
        raise fault(f"{name} is a coroutine function; it has to return its scores")
    try:
        inspect.signature(function).bind("question", ["answer"])
    except (TypeError, ValueError) as error:
        raise fault(f"{name} can't be called as scorer(question, answers) ({error})") from error
    return function  # type: ignore[no-any-return]  # looked at above


def fault(sentence: str) -> SettingsError:
    return SettingsError([f"{VARIABLE}: {sentence}"])
