"""How long a target takes to its first token when nobody is in the way, by the size of the prompt.

A target reads a prompt before it speaks, so a long prompt is not late where a short one would be. Sizes are put into
classes, each four times as large as the one before, and each class keeps the median of its newest samples: not the
least, since a prompt whose beginning the target remembers from the last one is answered in a tenth of the usual time
and would make all others look late.

A size that was never seen is judged by the nearest one that was: a smaller one, scaled up with the size (reading takes
no more than in proportion), else a larger one as it is. Both err on the side of patience.

Whose first token is a sample is the caller's to say (`call_limit`): only calls that had nobody of ours in their way.
Cost: SAMPLES_MAX numbers a class, sorted when one is added.
"""

from __future__ import annotations

import statistics
from collections import deque
from typing import Final

__all__ = ["UsualFirstToken"]

SAMPLES_MAX: Final = 15
"""Odd, so that the median is a sample. Eight calls that are slow for good are the usual thing from then on."""
CLASS_BITS: Final = 2
"""Each class of sizes is 2 to the power of this times as large as the one before."""


class UsualFirstToken:
    """The usual time to one target's first token."""

    __slots__ = ("_medians_s", "_samples_s")

    def __init__(self) -> None:
        self._samples_s: dict[int, deque[float]] = {}
        self._medians_s: dict[int, float] = {}

    def add(self, input_tokens: int, first_token_s: float) -> None:
        """Note the first token of a call that had nobody in its way."""
        size = class_of(input_tokens)
        samples_s = self._samples_s.setdefault(size, deque(maxlen=SAMPLES_MAX))
        samples_s.append(first_token_s)
        self._medians_s[size] = statistics.median_low(samples_s)

    def of(self, input_tokens: int) -> float | None:
        """The usual time for a prompt of this size, in seconds; None: nothing is known of the target."""
        size = class_of(input_tokens)
        known = self._medians_s.get(size)
        if known is not None or not self._medians_s:
            return known
        nearest = max((other for other in self._medians_s if other < size), default=None)
        if nearest is None:
            return self._medians_s[min(self._medians_s)]
        return self._medians_s[nearest] * float(2 ** (CLASS_BITS * (size - nearest)))


def class_of(input_tokens: int) -> int:
    return max(0, input_tokens).bit_length() // CLASS_BITS
