"""The highest figure that a gateway keeps up with: the most is tried first, then the middle between what it kept up
with and what it did not, until the two are close or the trials are used up.

Found is the highest that was *seen* to be kept up with, never one in between.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Final

from benchmarks.gateway.wave import Wave

__all__ = ["highest"]

TRIALS_MAX: Final = 6
CLOSE: Final = 1.1
"""Neighbours whose ratio is below this are close."""
UP: Final = 1.5
DOWN: Final = 4.0
"""Nothing kept up with yet: so far down at once."""


async def highest(
    trial: Callable[[float], Awaitable[Wave]],
    most: float,
    trials: list[Wave],
    say: Callable[[str], None],
    *,
    known: Wave | None = None,
    grows: bool = False,
    trials_max: int = TRIALS_MAX,
) -> Wave | None:
    """The best of what was tried; None: it kept up with nothing. Every trial goes into `trials`.

    `most` is of whatever kind `trial` takes, a rate or a count of readers. `known`: a wave from before, only where
    rates are searched. `grows`: where the most is kept up with, more is tried.
    """
    best = known if known is not None and known.kept_up else None
    low, high = (known.records_per_s_asked if best is not None and known is not None else 0.0), most
    value = most
    while len(trials) < trials_max:
        wave = await trial(value)
        trials.append(wave)
        say(f"{wave.streaming:,} readers, {wave.records_per_s_asked:,.0f} records/s: {verdict(wave)}")
        if wave.kept_up:
            best, low = wave, value
        else:
            high = value
        if low >= high and grows:
            high = value = low * UP
            continue
        if low and high / low < CLOSE:
            break
        value = math.sqrt(low * high) if low else high / DOWN
    return best


def verdict(wave: Wave) -> str:
    """In a few words."""
    told = "kept up" if wave.kept_up else "did not keep up"
    if wave.is_whole and not wave.wrote_at_rate:
        told = "the rate was not reached"
    return (
        f"{told} ({wave.records_per_s:,.0f} records/s written, {wave.tokens_lost:,} tokens lost, "
        f"the last {wave.late_s:.1f} s late, relay p99 {wave.relay_ms[2]:,.0f} ms)"
    )
