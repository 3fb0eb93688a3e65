"""One answer as a client saw it arrive."""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, field
from typing import Final

__all__ = ["ObservedAnswer"]

MILLISECOND: Final = 1e3
MICROSECOND: Final = 1e6


@dataclass(slots=True, kw_only=True)
class ObservedAnswer:
    """Times are the monotonic clock's, except `sent_at_us`, which is compared with the line's own wall clocks."""

    sent_s: float = field(default_factory=time.perf_counter)
    sent_at_us: int = field(default_factory=lambda: time.time_ns() // 1_000)
    texts: list[str] = field(default_factory=list)
    arrivals_s: list[float] = field(default_factory=list)
    """One per chunk of text; chunks that came together share a time."""
    turn: str = ""
    fault: str = ""
    """Why the answer is no good, for people; empty: nothing was noticed."""

    def arrived(self, text: str, chunks: int, now_s: float) -> None:
        """Text came."""
        self.texts.append(text)
        self.arrivals_s.extend([now_s] * chunks)

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.texts)

    @property
    def ttft_ms(self) -> float:
        """From sending the prompt to its first text; infinite if none came."""
        return (self.arrivals_s[0] - self.sent_s) * MILLISECOND if self.arrivals_s else float("inf")

    @property
    def gaps_ms(self) -> list[float]:
        """Between each two neighbouring chunks."""
        times = self.arrivals_s
        return [(later - earlier) * MILLISECOND for earlier, later in itertools.pairwise(times)]

    @property
    def first_at_us(self) -> int:
        """The first text's arrival by the wall clock."""
        return self.sent_at_us + round(self.ttft_ms * 1_000)
