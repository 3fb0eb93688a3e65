"""Which answer looks better."""

from __future__ import annotations

import pytest

from processors.turns.decisions.answer_scoring import score_answers

__all__: list[str] = []

SENTENCE = "Blue light is scattered more than red light. "


@pytest.mark.parametrize(
    ("question", "better", "worse"),
    [
        ("Why?", SENTENCE, ""),
        ("Why?", SENTENCE * 5, "It is so."),
        ("Why?", SENTENCE * 5, SENTENCE * 5 + "And then the"),
        ("Why?", SENTENCE * 20, SENTENCE * 2_000),
        ("Why?", (SENTENCE * 8 + "\n\n") * 3, SENTENCE * 24),
        ("Write a function.", "```python\nreturn 1\n```", "You would return one, I think."),
        ("Write a function.", "```python\nreturn 1\n```", "```python\nreturn 1  # and so."),
    ],
)
def test_pair(question: str, better: str, worse: str) -> None:
    """Longer up to a point, whole, and in shape."""
    scores = score_answers(question, [better, worse])

    assert scores[0] > scores[1]
    assert all(0 <= score <= 1 for score in scores)
