"""How long a prompt in line will wait, as far as the calls before it tell.

With every one of `capacity` places taken, a place comes free every mean duration / capacity (Little's law), and a
prompt with `before` others in front of it starts with the (before + 1)th of them. The mean, not the median: a line's
pace is set by the sum of what the calls take, and a few long answers hold many places for long.

Invariants: never negative; more before it never shortens the wait, more capacity never lengthens it. Without a single
completion to go by there is no estimate, which is better than one made up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["RECENT_DURATIONS_MAX", "LinePlace", "estimate_wait", "place_in_line"]

RECENT_DURATIONS_MAX: Final = 64
"""Completions worth keeping for the estimate."""


@dataclass(frozen=True, slots=True)
class LinePlace:
    """What a client is told of its prompt: 1 is the next to start."""

    position: int
    eta_s: float | None


def estimate_wait(before: int, capacity: int, recent_durations_s: Sequence[float]) -> float | None:
    """Seconds until a prompt with `before` others in front of it starts; None: nobody can say."""
    if capacity <= 0 or not recent_durations_s:
        return None
    mean_s = sum(max(0.0, duration_s) for duration_s in recent_durations_s) / len(recent_durations_s)
    return (max(0, before) + 1) * mean_s / capacity


def place_in_line(
    before: int, capacity: int, recent_durations_s: Sequence[float], *, not_before_s: float = 0.0
) -> LinePlace:
    """Position and estimate. `not_before_s`: the time from now before which a rate limit lets nobody start."""
    wait_s = estimate_wait(before, capacity, recent_durations_s)
    eta_s = None if wait_s is None else max(wait_s, not_before_s)
    return LinePlace(max(0, before) + 1, eta_s)
