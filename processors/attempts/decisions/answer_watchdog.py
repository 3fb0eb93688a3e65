"""Whether what a model says is still worth reading: loops and gibberish, behind one question.

The front that the shell asks. It cuts the stream once, into blocks that both watches judge whole, so a chunk costs
one concatenation and a block two calls; a watchdog that is switched off does not exist and costs nothing, and with both
off a chunk costs one comparison. Verdicts fall at multiples of 128 (repetition) and 256 (gibberish) characters,
however the text was cut into chunks. The first verdict stays.

`Suspicion.detail` is for records and warnings: it holds figures, never the answer's text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from processors.attempts.decisions.gibberish_watchdog import Gibberish, GibberishLimits, GibberishWatchdog
from processors.attempts.decisions.repetition_watchdog import Repeating, RepetitionLimits, RepetitionWatchdog
from processors.attempts.decisions.text_blocks import TextBlocks

__all__ = ["AnswerWatchdog", "AnswerWatchdogLimits", "Suspicion"]

BLOCK_CHARS: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerWatchdogLimits:
    """What is watched, per model. None switches a part off."""

    repetition: RepetitionLimits | None = field(default_factory=RepetitionLimits)
    gibberish: GibberishLimits | None = field(default_factory=GibberishLimits)


@dataclass(frozen=True, slots=True)
class Suspicion:
    """The answer is not worth reading on. `at_chars`: how much of it had been read."""

    code: Literal["repetition", "gibberish"]
    detail: str
    at_chars: int


class AnswerWatchdog:
    """Watches one answer, from its first character."""

    __slots__ = ("_gibberish", "_is_on", "_repetition", "blocks", "suspicion")

    def __init__(self, limits: AnswerWatchdogLimits) -> None:
        self._repetition = None if limits.repetition is None else RepetitionWatchdog(limits.repetition)
        self._gibberish = None if limits.gibberish is None else GibberishWatchdog(limits.gibberish)
        self._is_on = self._repetition is not None or self._gibberish is not None
        self.blocks = TextBlocks(BLOCK_CHARS)
        self.suspicion: Suspicion | None = None

    def add(self, text: str) -> Suspicion | None:
        """Take the answer's next characters; what is suspicious about it, if anything is."""
        if self._is_on and self.suspicion is None:
            for block in self.blocks.add(text):
                self.suspicion = self.judged(block)
                if self.suspicion is not None:
                    break
        return self.suspicion

    def judged(self, block: str) -> Suspicion | None:
        repeating = None if self._repetition is None else self._repetition.add(block)
        if repeating is not None:
            return Suspicion("repetition", repetition_detail(repeating), repeating.at_chars)
        gibberish = None if self._gibberish is None else self._gibberish.add(block)
        return None if gibberish is None else Suspicion("gibberish", gibberish_detail(gibberish), gibberish.at_chars)


def repetition_detail(repeating: Repeating) -> str:
    ending = ", but for a running number" if repeating.running_number else ""
    return f"the same {repeating.period_chars} characters {repeating.repeats} times over{ending}"


def gibberish_detail(gibberish: Gibberish) -> str:
    return f"{WORDS[gibberish.sign]} ({gibberish.strength})"


WORDS: Final = {
    "replacement": "replacement characters",
    "mojibake": "text read in the wrong encoding",
    "control": "control characters",
    "scripts": "scripts mixed at random",
    "rare": "characters of no living text",
    "symbols": "symbols at random",
    "letters": "letters at random",
    "blob": "unbroken letters and digits at random",
    "soup": "words at random",
}
