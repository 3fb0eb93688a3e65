from __future__ import annotations

import pytest

from processors.attempts.decisions.repetition_watchdog import Repeating, RepetitionLimits, RepetitionWatchdog

SENTENCE = "I should look at the log again before I answer. "


def verdict(text: str, limits: RepetitionLimits | None = None) -> Repeating | None:
    return RepetitionWatchdog(limits or RepetitionLimits()).add(text)


def test_repeated_sentence_is_a_loop() -> None:
    """Said with its period and how often, at a block's end."""
    found = verdict(SENTENCE * 60)

    assert found == Repeating(len(SENTENCE), 33, at_chars=1_664)


def test_repetition_below_the_limit_is_none() -> None:
    """A refrain is said more than once."""
    assert verdict(SENTENCE * 25 + "Then I answered, and nobody was wiser. " + SENTENCE * 25) is None


def test_long_paragraph_needs_its_repeats() -> None:
    """Seven times a paragraph of 700 characters is none; the eighth is."""
    paragraph = "".join(f"{word} was said by the {word}er and then taken back. " for word in "abcdefghijklmnopq")[:700]

    assert verdict(paragraph * 7) is None
    assert verdict(paragraph * 9) is not None


@pytest.mark.parametrize("row", ["| yes | no |\n", "0, ", "a,b,none\n", "12:30:05 ok all is well with it\n"])
def test_data_gets_more_room(row: str) -> None:
    """Equal rows are ordinary up to four times the length."""
    assert verdict(row * (4_000 // len(row))) is None
    assert verdict(row * (7_000 // len(row))) is not None


def test_code_gets_more_room() -> None:
    """So do equal lines in a fence."""
    assert verdict("```\n" + SENTENCE * 80) is None
    assert verdict("```\n" + SENTENCE * 160) is not None


def test_running_number_does_not_hide_a_loop() -> None:
    """A sentence that counts is a loop after a while."""
    found = verdict("".join(f"{at}. {SENTENCE}" for at in range(200)))

    assert found is not None
    assert found.running_number
    assert found.period_chars == len(SENTENCE) + 3


@pytest.mark.parametrize(
    "line",
    ["Item {0}: open\n", "{0} | {1} and some other words here\n", "{0} geese and then {1} geese fly over the hill\n"],
)
def test_lists_rows_and_songs_may_count(line: str) -> None:
    """Short items, rows, and lines in which two numbers move."""
    assert verdict("".join(line.format(at, at + 1) for at in range(300))) is None


def test_numbered_lines_in_code_may_count() -> None:
    """Generated code counts."""
    assert verdict("```\n" + "".join(f"print the line number {at} now please\n" for at in range(300))) is None


def test_verdict_stays() -> None:
    """Whatever comes later."""
    watch = RepetitionWatchdog(RepetitionLimits())
    found = watch.add(SENTENCE * 60)

    assert found is not None
    assert watch.add("And now for something else. ") is found


def test_limits_are_obeyed() -> None:
    """A stricter model is stopped earlier."""
    found = verdict(SENTENCE * 60, RepetitionLimits(run_chars_min=256, repeats_min=3))

    assert found is not None
    assert found.at_chars == 384
