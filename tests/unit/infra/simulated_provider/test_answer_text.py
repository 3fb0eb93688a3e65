"""What the simulated model says."""

from __future__ import annotations

import pytest

from infra.simulated_provider.answer_text import answer_for, conversation_of
from schemas.prompts import ChatMessage

RIVERS = ChatMessage("user", "Tell me about rivers in Norway")


def test_same_conversation() -> None:
    """The same messages, as records or as plain mappings, give the same tokens."""
    assert answer_for([RIVERS]) == answer_for([{"role": "user", "content": RIVERS.content}])


def test_other_seed_or_prompt() -> None:
    """Another seed or another prompt gives another answer."""
    assert answer_for([RIVERS], seed=1) != answer_for([RIVERS])
    assert answer_for([ChatMessage("user", "Tell me about rivers in Spain")]) != answer_for([RIVERS])


def test_history_matters() -> None:
    """A missing, cut or reordered history changes the answer, and people can see that there was one."""
    first = (ChatMessage("user", "What is a glacier?"), ChatMessage("assistant", "Ice that moves."))
    whole = answer_for([*first, RIVERS])

    assert len({whole, answer_for([RIVERS]), answer_for([first[0], RIVERS]), answer_for([*first[::-1], RIVERS])}) == 4
    assert "glacier" in "".join(whole)
    assert "question 2" in "".join(whole)


def test_directive_is_not_part_of_the_text() -> None:
    """With and without it the answer is the same, in the newest message and in the history."""
    directed = ChatMessage("user", "[[sim tokens=9 fault=500]] " + RIVERS.content)

    assert answer_for([directed]) == answer_for([RIVERS])
    assert conversation_of([directed, directed]) == conversation_of([RIVERS, RIVERS])


@pytest.mark.parametrize("tokens", [0, 1, 2, 3, 17, 400, 5_000])
def test_length_that_was_asked_for(tokens: int) -> None:
    """It is kept exactly."""
    assert len(answer_for([RIVERS], tokens=tokens)) == tokens


def test_natural_length() -> None:
    """It differs from prompt to prompt, between 120 and 250 tokens, and ends with a sentence."""
    answers = [answer_for([ChatMessage("user", f"question {number}")]) for number in range(200)]

    assert all(120 <= len(answer) <= 250 for answer in answers)
    assert len({len(answer) for answer in answers}) > 50
    assert all(answer[-1].endswith(".") for answer in answers)


def test_pieces_look_like_tokens() -> None:
    """None is empty or long; words carry their leading space; prompts without words are answered too."""
    pieces = answer_for([RIVERS], tokens=2_000)

    assert all(0 < len(piece) <= 9 for piece in pieces)
    assert sum(piece.startswith(" ") for piece in pieces) > len(pieces) / 2
    assert len(answer_for([ChatMessage("user", "?")])) >= 120
    assert len(answer_for([])) >= 120
