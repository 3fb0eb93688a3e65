"""How long a call may be silent before a second target is asked beside it.

After the 95th percentile of the times that this very target took to its first token: then a second call is made for one
answer in twenty, so hedging costs at most about 5 % more calls, and it is made just where the first is slower than it
nearly ever is. A fixed delay would hedge every call of a slow model and none of a fast one.

Invariants: no delay before OBSERVED_MIN times are known, since a percentile of a handful is the slowest of them; the
newest OBSERVED_MAX count, so it follows a target that becomes slower or faster; the delay is between FLOOR_S (below it
the second call could not win) and CEILING_S.

A call that was beaten is noted with the time it had been silent, which it would have taken at least. Leaving it out
would remove just the slow ones, and the delay would sink until every call is hedged; a bound that is too low only makes
it sink a little. Cost: a sort of at most OBSERVED_MAX numbers for each call of a model that hedges.
"""

from __future__ import annotations

import math
from typing import Final, TypeAlias

__all__ = [
    "CEILING_S",
    "FLOOR_S",
    "OBSERVED_MAX",
    "OBSERVED_MIN",
    "PERCENTILE",
    "FirstTokenTimes",
    "hedge_delay_s",
    "observed",
    "usual_first_token_s",
]

OBSERVED_MAX: Final = 200
OBSERVED_MIN: Final = 20
PERCENTILE: Final = 0.95
FLOOR_S: Final = 0.05
CEILING_S: Final = 30.0

FirstTokenTimes: TypeAlias = tuple[float, ...]
"""Seconds from a request to its first token, oldest first."""


def observed(times: FirstTokenTimes, first_token_s: float) -> FirstTokenTimes:
    """The newest times, with one more."""
    return (*times, first_token_s)[-OBSERVED_MAX:]


def hedge_delay_s(times: FirstTokenTimes) -> float | None:
    """Ask a second target after so many seconds of silence; None: too little is known of the first."""
    usual_s = usual_first_token_s(times)
    return None if usual_s is None else min(max(usual_s, FLOOR_S), CEILING_S)


def usual_first_token_s(times: FirstTokenTimes) -> float | None:
    """The time within which nearly all answers begin; None: too little is known."""
    if len(times) < OBSERVED_MIN:
        return None
    ordered = sorted(times)
    return ordered[math.ceil(PERCENTILE * len(ordered)) - 1]
