"""How long to wait before the same is tried again, and how often it is tried: one object for all of Tokenwire.

What fails for a while is tried again by whoever can do so without harm; in between it waits, lest it hinder what it
waits for. How the pauses grow depends on who else is there. They stay the same where few try and the other side is
ours. They grow evenly where a leader moves, which takes a second or two. They double where the other side may be
overwhelmed, or away for long. Where many failed together, a drawn part keeps them from coming back together.

Tries that lie within other tries multiply. `longest_s` says how long one of them can take in all, so that the sum of
those that lie within each other can be told (docs/retries.md, and the test that counts it).

No pause is below zero, none is shorter than the one before it, and none is beyond `longest_pause_s` and the jitter.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import Final, Literal, TypeAlias

__all__ = ["FOR_EVER", "Backoff", "Growth"]

Growth: TypeAlias = Literal["level", "even", "doubling"]
"""Each pause as long as the first; longer by the first; twice as long."""

FOR_EVER: Final = 2**63 - 1
DOUBLINGS_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Backoff:
    """When the next try may begin. Times in seconds."""

    first_pause_s: float
    _: KW_ONLY
    growth: Growth = "level"
    longest_pause_s: float = math.inf
    jitter_s: float = 0.0
    """The most that is drawn beside each pause."""
    tries_max: int = FOR_EVER
    """Tries in all, the first included."""

    def pause_s(self, failures: int = 1, *, draw: float = 0.0) -> float:
        """The pause after so many tries in a row that failed. `draw`: from 0 to 1."""
        match self.growth:
            case "level":
                pause_s = self.first_pause_s
            case "even":
                pause_s = self.first_pause_s * failures
            case "doubling":
                pause_s = self.first_pause_s * 2.0 ** min(failures - 1, DOUBLINGS_MAX)
        return min(self.longest_pause_s, pause_s) + draw * self.jitter_s

    def longest_s(self, try_s: float = 0.0) -> float:
        """The longest until the last try has failed, where each takes `try_s` at most; infinite without a last one."""
        if self.tries_max == FOR_EVER:
            return math.inf
        return self.tries_max * try_s + sum(self.pause_s(failures, draw=1.0) for failures in range(1, self.tries_max))
