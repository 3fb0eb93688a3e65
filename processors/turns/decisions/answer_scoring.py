"""Which of several complete answers looks best, by length and format alone.

The scorer that ships, for want of a better one; it knows nothing of what is right. An answer scores between 0 and 1:
for its length, rising fast up to a few paragraphs and falling slowly where it goes on and on; for coming to an end
(a last line that is whole, every code block closed); and for having a shape where it is long (paragraphs, lists,
headings) or where the question asks for code (a code block). Deterministic and linear in the text, so that the
same answers always come to the same choice. Not a model that judges: that costs a call, and can be named by setting.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Final

__all__ = ["score_answers"]

GOOD_CHARS: Final = 1_200
"""Length from which an answer gains nothing by being longer."""
LONG_CHARS: Final = 8_000
"""Length beyond which it loses."""
SHAPELESS_CHARS: Final = 600
"""Length from which an answer should have paragraphs."""
LENGTH_WEIGHT, END_WEIGHT, SHAPE_WEIGHT = 0.5, 0.3, 0.2
WHOLE_ENDS: Final = tuple(".!?…。！？”\"')]}>`|:*_")
STRUCTURE: Final = re.compile(r"^(#{1,6} |[-*+] |\d+[.)] |```|\|)|\n\n", re.MULTILINE)
ASKS_FOR_CODE: Final = re.compile(r"\b(code|function|script|regex|query|sql|implement|program)\b", re.IGNORECASE)
FENCE: Final = "```"


def score_answers(question: str, answers: Sequence[str]) -> list[float]:
    """A score between 0 and 1 for each answer."""
    wants_code = ASKS_FOR_CODE.search(question) is not None
    return [score(answer.strip(), wants_code=wants_code) for answer in answers]


def score(answer: str, *, wants_code: bool) -> float:
    if not answer:
        return 0.0
    shape = shape_score(answer, wants_code=wants_code)
    return LENGTH_WEIGHT * length_score(len(answer)) + END_WEIGHT * end_score(answer) + SHAPE_WEIGHT * shape


def length_score(chars: int) -> float:
    if chars > LONG_CHARS:
        return LONG_CHARS / chars
    return min(1.0, math.log1p(chars) / math.log1p(GOOD_CHARS))


def end_score(answer: str) -> float:
    closed = answer.count(FENCE) % 2 == 0
    return 0.5 * closed + 0.5 * answer.endswith(WHOLE_ENDS)


def shape_score(answer: str, *, wants_code: bool) -> float:
    if wants_code:
        return float(FENCE in answer)
    return float(len(answer) < SHAPELESS_CHARS or STRUCTURE.search(answer) is not None)
