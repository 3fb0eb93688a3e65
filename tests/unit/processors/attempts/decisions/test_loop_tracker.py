from __future__ import annotations

from processors.attempts.decisions.loop_tracker import LoopTracker

PROSE = "It was a quiet day by the river, and nobody had yet thought of lunch or of the long way home again. "


def test_text_without_repetition_has_no_period() -> None:
    """No period, no repeats, nothing said over and over."""
    tracker = LoopTracker(64)
    for at in range(0, 96, 16):
        tracker.add(PROSE[at : at + 16])

    assert (tracker.period_chars, tracker.run_chars, tracker.repeats, tracker.period_text) == (0, 0, 0, "")


def test_repeated_text_shows_its_period() -> None:
    """The smallest period, the characters it has lasted, and the text in some rotation."""
    tracker = LoopTracker(64)
    text = "abcdefghijklmnopqrst" * 8
    for at in range(0, 160, 16):
        tracker.add(text[at : at + 16])

    assert tracker.period_chars == 20
    assert 128 <= tracker.run_chars <= 160
    assert tracker.repeats == tracker.run_chars // 20
    assert sorted(tracker.period_text) == list("abcdefghijklmnopqrst")


def test_passage_with_a_shorter_period_does_not_hide_the_longer_one() -> None:
    """A row of dashes inside the repeated block is dropped when it ends."""
    tracker = LoopTracker(128)
    text = ("-" * 40 + "some other words here and there") * 8
    for at in range(0, len(text) - 16, 16):
        tracker.add(text[at : at + 16])

    assert tracker.period_chars == 71


def test_end_of_a_loop_is_noticed() -> None:
    """Other text ends the period."""
    tracker = LoopTracker(64)
    for _ in range(4):
        tracker.add("x" * 16)
    assert tracker.period_chars == 1
    tracker.add(PROSE[:16])

    assert tracker.period_chars == 0


def test_longer_period_than_remembered_is_not_seen() -> None:
    """The tail is as long as the longest period, no longer."""
    tracker = LoopTracker(64)
    for at in range(0, 4 * 96, 16):
        tracker.add(PROSE[at % 96 : at % 96 + 16])

    assert tracker.period_chars == 0
    assert len(tracker.tail) == 64
