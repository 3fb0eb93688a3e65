"""The message that asks for one answer."""

from __future__ import annotations

from processors.attempts.decisions.merge_question import CUT_MARK, TASK, merge_question, shares

__all__: list[str] = []


def words(text: str) -> int:
    return len(text.split())


def test_everything_fits() -> None:
    """The task, the question and every answer under its model's name, whole."""
    asked = merge_question("Why?", [("m1", "So."), ("m2", "Not so.")], tokens_max=1_000, count=words)

    assert asked == f"{TASK}\n\nQuestion:\nWhy?\n\nAnswer 1 (m1):\nSo.\n\nAnswer 2 (m2):\nNot so."


def test_long_answers() -> None:
    """They are cut to equal length and say so; a short one stays whole."""
    answers = [("m1", "long " * 500), ("m2", "Short."), ("m3", "longer " * 5_000)]
    asked = merge_question("Why?", answers, tokens_max=300, count=words)

    assert words(asked) <= 300
    assert (asked.count(CUT_MARK), "Short." in asked) == (2, True)
    assert asked.count("long ") > 80
    assert abs(asked.count("long ") - asked.count("longer ")) <= 15


def test_no_room_at_all() -> None:
    """The question stays, the answers are cut away."""
    asked = merge_question("Why on earth?", [("m1", "So it is."), ("m2", "")], tokens_max=3, count=words)

    assert "Why on earth?" in asked
    assert "So" not in asked


def test_shares() -> None:
    """What a small one leaves goes to the larger ones."""
    assert shares([5, 100, 100], 105) == [5, 50, 50]
    assert shares([], 10) == []


def test_answer_whose_words_are_not_spread_evenly() -> None:
    """It is cut shorter until it fits."""
    asked = merge_question("Why?", [("m1", "a b c d e f g h " + "x" * 400)], tokens_max=words(TASK) + 12, count=words)

    assert words(asked) <= words(TASK) + 12
