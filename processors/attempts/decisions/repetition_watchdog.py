"""Whether an answer has fallen into a loop: the same block of text over and over at its tail.

Two readings of the text, block by block (128 characters), each with a `LoopTracker`: as it is, and with its numbers
masked. A loop is a tail with one period that has lasted long enough in characters *and* in repeats. Copied text is
the only evidence: wording, language and meaning play no part, so nothing here needs a model or a dictionary.
What ordinary texts repeat and loops do not share: ruled lines and laughter are short, refrains have verses between
them, and data (fenced code, tables, rows, lists of numbers) gets four times the room.

Sources of the figures: our own measurement over the ordinary and the broken texts in tests/data, and over 9,400 files
of source code and message catalogues (docs/watchdogs.md has the results; tests/unit/processors/attempts/
decisions/test_watchdog_rates.py repeats the first part).

    period 768          paragraphs and short lists: twice the 400 characters asked for, and what the memory allows
    1,536 and 8         above the longest exact repetition outside data in any of these texts: 1,476 characters in a
                        list made to repeat, a litany said 7 times, ruled lines of 600. A sentence of 50 characters is
                        stopped after some 33 times, a paragraph of 400 after 8
    data × 4            6,144 characters and 32 repeats; a matrix of 40 × 40 zeros repeats 4,859 characters
    running 2,432, 16,  one sentence with a counter; in ordinary text the longest was 273 characters, as rows, dates and
    12 letters          short items ("Item 12: open") are left alone, and so are counting songs, where two numbers move

What it can't see: loops that change a word each time. Who asks a model for a thousand equal lines is stopped: from the
text alone that is a loop. Switch the watchdog off for a model that is used so.

Deterministic, and independent of how the text was cut into chunks: verdicts fall at multiples of 128 characters.
Memory: tails of 768 and 512 characters and two pending blocks: 3 KiB in Latin script, 7 KiB where one character is an
emoji (Python then stores four bytes for each).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from processors.attempts.decisions.code_fence import CodeFence
from processors.attempts.decisions.loop_tracker import LoopTracker
from processors.attempts.decisions.number_mask import MARK, NumberMask
from processors.attempts.decisions.text_blocks import BlockWatchdog, TextBlocks

__all__ = ["Repeating", "RepetitionLimits", "RepetitionWatchdog"]

BLOCK_CHARS: Final = 128
DATA_MARKS: Final = re.compile(r"[|{}<>=;\t]|,\S|\d[:/-]\d+[:/-]\d")
"""Rows rather than sentences; dates and times are such."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepetitionLimits:
    """When a repeated tail is a loop. The module says where the figures come from."""

    period_chars_max: int = 768
    """A longer block is not seen as repeated."""
    run_chars_min: int = 1_536
    """Characters of exact repetition before which nothing is a loop."""
    repeats_min: int = 8
    """Times that the same block must have been said."""
    data_factor: int = 4
    """How many times more of both in fenced code, rows and numbers."""
    running_run_chars_min: int = 2_432
    """The same for a block in which one number runs."""
    running_repeats_min: int = 16
    running_period_chars_max: int = 512
    running_letters_min: int = 12
    """Letters that such a block must hold: fewer are a list."""


@dataclass(frozen=True, slots=True)
class Repeating:
    """The tail repeats `period_chars` characters, said `repeats` times by the character `at_chars` of the answer."""

    period_chars: int
    repeats: int
    at_chars: int
    running_number: bool = False
    """The repeats differ in one number, which runs. The period is then counted with one character per number."""


class RepetitionWatchdog(BlockWatchdog[Repeating]):
    """Watches one answer. Once it has spoken it stays with its verdict."""

    __slots__ = ("_fence", "_limits", "_mask", "_masked", "_masked_blocks", "_plain")

    def __init__(self, limits: RepetitionLimits) -> None:
        super().__init__(BLOCK_CHARS)
        self._limits = limits
        self._fence = CodeFence()
        self._plain = LoopTracker(limits.period_chars_max)
        self._mask = NumberMask()
        self._masked_blocks = TextBlocks(BLOCK_CHARS)
        self._masked = LoopTracker(limits.running_period_chars_max)

    def judged(self, block: str) -> Repeating | None:
        is_code = self._fence.add(block)
        self._plain.add(block)
        for masked_block in self._masked_blocks.add(self._mask.add(block)):
            self._masked.add(masked_block)
        if self.is_loop(is_code):
            return Repeating(self._plain.period_chars, self._plain.repeats, self._read_chars)
        if self.is_running_loop(is_code):
            return Repeating(self._masked.period_chars, self._masked.repeats, self._read_chars, running_number=True)
        return None

    def is_loop(self, is_code: bool) -> bool:
        limits = self._limits
        run_chars, repeats = self._plain.run_chars, self._plain.repeats
        if run_chars < limits.run_chars_min or repeats < limits.repeats_min:
            return False
        factor = limits.data_factor
        if run_chars >= factor * limits.run_chars_min and repeats >= factor * limits.repeats_min:
            return True
        return not is_code and not is_data(self._plain.period_text)

    def is_running_loop(self, is_code: bool) -> bool:
        limits, masked = self._limits, self._masked
        if is_code or masked.run_chars < limits.running_run_chars_min or masked.repeats < limits.running_repeats_min:
            return False
        said = masked.period_text
        letters = sum(
            sign.isalpha() or not sign.isascii() for sign in said
        )  # vowel signs of Indic scripts are no alpha
        return letters >= limits.running_letters_min and not is_data(said) and self._mask.runs(said.count(MARK))


def is_data(said: str) -> bool:
    """Whether what is repeated looks like rows or numbers."""
    digits = sum(map(str.isdigit, said))
    return DATA_MARKS.search(said) is not None or (digits > 0 and digits >= sum(map(str.isalpha, said)))
