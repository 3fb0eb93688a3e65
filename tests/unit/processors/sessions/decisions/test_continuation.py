"""Going on from a text, or beginning again."""

from __future__ import annotations

import pytest

from processors.sessions.decisions.continuation import (
    ANSWER_TOKENS_MIN,
    PREFIX_CHARS_MAX,
    GoOn,
    Restart,
    StartDecision,
    TextSoFar,
    decide_start,
)

__all__: list[str] = []

SAID = TextSoFar("some words", chunks=7, tokens=2)


@pytest.mark.parametrize(
    ("said", "able", "decision"),
    [
        (SAID, True, GoOn(7, 98)),
        (SAID, False, Restart("not_able")),
        (TextSoFar("", 0, 0), True, Restart("nothing_said")),
        (TextSoFar("round and round", 3, 3, babbled=True), True, Restart("babbled")),
        (TextSoFar("", 300_000, 300_000), True, Restart("too_long")),
        (TextSoFar("x" * (PREFIX_CHARS_MAX + 1), 9, 9), True, Restart("too_long")),
        (TextSoFar("x" * PREFIX_CHARS_MAX, 9, 9), True, GoOn(9, 91)),
        (TextSoFar("nearly all", 99, 99), True, GoOn(99, ANSWER_TOKENS_MIN)),
    ],
)
def test_start(said: TextSoFar, *, able: bool, decision: StartDecision) -> None:
    """Only sound text that is at hand is gone on from, at a target that can, with the tokens that are left."""
    assert decide_start(said, able=able, answer_tokens=100) == decision
