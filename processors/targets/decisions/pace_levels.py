"""Whether more calls at once still bring more text, at a target that answers all of them at once but more slowly.

A server that shares its power among its calls lets nobody wait for the first token; the time per token grows instead.
That it grows is no reason to make fewer calls: a server that decodes in batches takes twice the time per token for
sixteen times the calls, and should have them. What counts is the text of all calls together, calls at once ÷ time per
chunk. Where it stops growing with the calls, more of them only make each other slow.

So the time per chunk is kept by level of calls at once (each level a fifth above the one before), and a level is
compared with the nearest one that is smaller by RATIO_MIN: closer ones differ by noise alone. Of the calls that are
more, at least GAIN_MIN of their share must come back as text, else so many calls are advised as would have brought the
same text at the smaller level's time per chunk. On a server that shares evenly beyond some number of calls that is
exactly this number, where the smaller level lies below it; and the smaller level, where it lies above.

Levels older than `fresh_s` are not compared with: the server has other work or is another one.
Invariants: the advice is at least 1, and never more than the calls that it is about.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

__all__ = ["PaceLevels"]

LEVEL_RATIO: Final = 1.2
RATIO_MIN: Final = 1.4
"""How many times the calls of the level that it is compared with."""
GAIN_MIN: Final = 0.3
"""Least share of the added calls that must come back as text: 1.5 times the calls, 1.15 times the text."""
NEWEST_SHARE: Final = 0.4
"""Weight of the newest measurement in a level."""
ROUNDING: Final = 0.05
"""A little more than a whole number of calls is that number."""


@dataclass(slots=True)
class Level:
    calls: float
    chunk_s: float
    at_s: float


class PaceLevels:
    """The paces that one target was seen to keep, by how many calls it had."""

    __slots__ = ("_levels",)

    def __init__(self) -> None:
        self._levels: dict[int, Level] = {}

    def add(self, calls: float, chunk_s: float, now_s: float) -> Level:
        """Note the time per chunk of a call, and how many calls ran at once meanwhile, on average."""
        key = math.floor(math.log(max(1.0, calls)) / math.log(LEVEL_RATIO))
        known = self._levels.get(key)
        if known is None:
            known = self._levels[key] = Level(calls, chunk_s, now_s)
        known.calls += (calls - known.calls) * NEWEST_SHARE
        known.chunk_s += (chunk_s - known.chunk_s) * NEWEST_SHARE
        known.at_s = now_s
        return known

    def enough(self, calls: float, chunk_s: float, now_s: float, *, fresh_s: float) -> int | None:
        """Add a measurement; as many calls as would have brought the same text, where so many were no use."""
        here = self.add(calls, chunk_s, now_s)
        below = max(
            (
                level
                for level in self._levels.values()
                if level.calls * RATIO_MIN <= here.calls and now_s - level.at_s <= fresh_s
            ),
            key=lambda level: level.calls,
            default=None,
        )
        if below is None or not below.chunk_s or not here.chunk_s:
            return None
        more_calls = here.calls / below.calls - 1
        more_text = here.calls * below.chunk_s / (here.chunk_s * below.calls) - 1
        if more_text >= GAIN_MIN * more_calls:
            return None
        return max(1, min(math.floor(here.calls), math.ceil(here.calls * below.chunk_s / here.chunk_s - ROUNDING)))
