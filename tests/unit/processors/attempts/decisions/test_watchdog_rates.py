"""How often the watches are wrong, measured on whole texts: false alarms, hits and delays (`pytest -s` prints them)."""

from __future__ import annotations

import json
import random
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest

from processors.attempts.decisions.answer_watchdog import AnswerWatchdog, AnswerWatchdogLimits, Suspicion
from tests.data.broken_texts import LOOPS, NOISES, BrokenText, broken_texts
from tests.data.ordinary_texts.catalogue import ordinary_texts

QUESTIONS: Final = Path(__file__).resolve().parents[6] / "shared" / "data" / "mt_bench_questions.jsonl"
BLIND: Final = "with a word drawn each time"
"""Not caught, by design: no period. Measured so that nobody believes otherwise."""
PARTLY_SEEN: Final = {"UTF-8 read as GBK": 0.9, "ASCII tokens of cl100k": 0.5}
"""Share of texts that must be caught; all of them in every other family."""


@dataclass(slots=True)
class Score:
    """What became of a family's texts."""

    texts: int = 0
    hits: int = 0
    early: int = 0
    delays_chars: list[int] = field(default_factory=list)

    def __str__(self) -> str:
        delays = self.delays_chars or [0]
        middle = round(statistics.median(delays))
        return f"{self.hits} of {self.texts} hit, delay median {middle}, longest {max(delays)} characters"


def watched(text: str) -> Suspicion | None:
    return AnswerWatchdog(AnswerWatchdogLimits()).add(text)


def alarms(texts: Iterable[tuple[str, str]]) -> tuple[int, int, list[str]]:
    count = chars = 0
    raised: list[str] = []
    for name, text in texts:
        count += 1
        chars += len(text)
        if suspicion := watched(text):
            raised.append(f"{name}: {suspicion}")
    return count, chars, raised


def scores(families: dict[str, Callable[[random.Random], Iterator[str]]], code: str) -> dict[str, Score]:
    found: dict[str, Score] = defaultdict(Score)
    for broken in broken_texts(families):
        add(found[broken.family], broken, code)
    for family, score in found.items():
        print(f"{family}: {score}")  # noqa: T201  the point of this test
    return found


def add(score: Score, broken: BrokenText, code: str) -> None:
    score.texts += 1
    suspicion = watched(broken.text)
    if suspicion is None or suspicion.code != code:
        return
    score.hits += 1
    score.early += suspicion.at_chars <= broken.breaks_at
    score.delays_chars.append(suspicion.at_chars - broken.breaks_at)


def test_ordinary_texts_raise_no_alarm() -> None:
    """At least 200 texts of prose, verse, code, data and two dozen languages, and not one suspicion."""
    count, chars, raised = alarms(ordinary_texts())
    print(f"\nordinary: {len(raised)} alarms in {count} texts of {chars:,} characters")  # noqa: T201

    assert raised == []
    assert count >= 200


@pytest.mark.skipif(not QUESTIONS.exists(), reason="the benchmark's questions are not beside this checkout")
def test_real_prompts_raise_no_alarm() -> None:
    """What people ask is no gibberish, one by one nor all in a row."""
    asked = [turn for line in QUESTIONS.read_text().splitlines() for turn in json.loads(line)["turns"]]
    count, chars, raised = alarms([*((turn[:40], turn) for turn in asked), ("all", "\n\n".join(asked))])
    print(f"\nprompts: {len(raised)} alarms in {count} texts of {chars:,} characters")  # noqa: T201

    assert raised == []


def test_loops_are_caught() -> None:
    """Every exact loop and every running number is caught, none before it begins."""
    found = scores(LOOPS, "repetition")

    assert {family: score.hits for family, score in found.items() if family != BLIND} == {
        family: score.texts for family, score in found.items() if family != BLIND
    }
    assert sum(score.early for score in found.values()) == 0
    assert max(found["exact, period 1 to 400"].delays_chars) <= 8 * 400 + 2 * 128


def test_noise_is_caught() -> None:
    """Every kind of noise is caught; what reads almost like a language, mostly."""
    found = scores(NOISES, "gibberish")

    missed = {
        family: f"{score}" for family, score in found.items() if score.hits < score.texts * PARTLY_SEEN.get(family, 1.0)
    }
    assert missed == {}
    assert sum(score.early for score in found.values()) == 0
