"""How long a prompt in the queue will wait, as far as the calls before it tell, and when that is worth telling.

Position 0 is the next to start, everywhere. With every one of `capacity` places taken, a place comes free every mean
duration / capacity (Little's law), and a prompt with `before` others in front of it starts with the (before + 1)th of
them. The mean, not the median: a queue's pace is set by the sum of what the calls take, and a few long answers hold
many places for long. A limit per minute holds a queue up in another way: nobody starts before `not_before_s`, and then
one every `spacing_s`. The slower of the two is the estimate.

A place is told when the wait begins, when the prompt becomes the next one, and otherwise once in TELL_EVERY_S at most,
if it has moved by TELL_SHARE of what was told: a long queue costs its log a few records a minute.

Invariants: never negative; more before it never shortens the wait, more capacity never lengthens it. Without anything
to go by there is no estimate, which is better than one made up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from processors.targets.decisions.rate_shares import RateLimits
from processors.targets.decisions.rate_window import WINDOW_S

__all__ = [
    "RECENT_DURATIONS_MAX",
    "TELL_EVERY_S",
    "QueuePace",
    "QueuePosition",
    "Told",
    "estimate_wait",
    "pace_of",
    "position_in_queue",
    "worth_telling",
]

RECENT_DURATIONS_MAX: Final = 64
"""Completions worth keeping for the estimate."""
TELL_EVERY_S: Final = 3.0
"""A moved place is told no more often."""
TELL_SHARE: Final = 0.1
"""Share of the told position by which a place must have moved to be told again."""


@dataclass(frozen=True, slots=True)
class QueuePosition:
    """What a client is told of its prompt."""

    position: int
    """Prompts before it; 0: it is the next to start."""
    eta_s: float | None


@dataclass(frozen=True, slots=True)
class Told:
    """What was told last, and when."""

    position: int
    at_s: float
    was_next: bool = False
    """It was told at some time that it is the next one."""


@dataclass(frozen=True, slots=True)
class QueuePace:
    """How fast a queue moves at most."""

    capacity: int
    """Places for calls at once."""
    spacing_s: float
    """Time between two starts that limits per minute let through; 0: they let all through."""


def pace_of(limits: Sequence[RateLimits], tokens: int, *, calls_max: int) -> QueuePace:
    """The pace of a queue for targets with these limits, for calls of so many tokens; a worker makes `calls_max`."""
    places = [limit.concurrent_max for limit in limits]
    capacity = calls_max if None in places else min(calls_max, sum(place or 0 for place in places))
    spacings_s = [spacing_of(limit, tokens) for limit in limits]
    if not spacings_s or 0.0 in spacings_s:
        return QueuePace(capacity, 0.0)
    return QueuePace(capacity, 1 / sum(1 / spacing_s for spacing_s in spacings_s))


def spacing_of(limits: RateLimits, tokens: int) -> float:
    by_requests_s = WINDOW_S / limits.requests_per_minute if limits.requests_per_minute else 0.0
    by_tokens_s = tokens * WINDOW_S / limits.tokens_per_minute if limits.tokens_per_minute else 0.0
    return max(by_requests_s, by_tokens_s)


def estimate_wait(before: int, capacity: int, recent_durations_s: Sequence[float]) -> float | None:
    """Seconds until a prompt with `before` others in front of it starts; None: nobody can say."""
    if capacity <= 0 or not recent_durations_s:
        return None
    mean_s = sum(max(0.0, duration_s) for duration_s in recent_durations_s) / len(recent_durations_s)
    return (max(0, before) + 1) * mean_s / capacity


def position_in_queue(
    before: int,
    capacity: int,
    recent_durations_s: Sequence[float],
    *,
    not_before_s: float = 0.0,
    spacing_s: float = 0.0,
) -> QueuePosition:
    """Position and estimate. `not_before_s`: the time from now before which a rate limit lets nobody start;
    `spacing_s`: how far apart it lets starts be from then on."""
    before = max(0, before)
    by_rate_s = max(0.0, not_before_s) + before * max(0.0, spacing_s)
    by_places_s = estimate_wait(before, capacity, recent_durations_s)
    if by_places_s is None:
        return QueuePosition(before, by_rate_s or None)
    return QueuePosition(before, max(by_places_s, by_rate_s))


def worth_telling(told: Told | None, position: int, now_s: float) -> bool:
    """Whether a client is told its place (again)."""
    if told is None:
        return True
    if position == told.position:
        return False
    if position == 0 and not told.was_next:
        return True
    return now_s - told.at_s >= TELL_EVERY_S and abs(position - told.position) >= told.position * TELL_SHARE
