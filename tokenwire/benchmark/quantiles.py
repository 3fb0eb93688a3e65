"""Middle and tail of a sample, pooled over rounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import msgspec

__all__ = ["Spread", "quantile", "spread_of"]

DIGITS: Final = 3


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """What a sample looks like. With few samples p99 is the largest."""

    p50: float
    p99: float
    samples: int


def quantile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the sorted values do not exceed (nearest rank)."""
    if not ordered:
        raise ValueError("no values, no quantile")
    if not 0 < share <= 1:
        raise ValueError("share is above 0 and at most 1")
    return ordered[math.ceil(share * len(ordered)) - 1]


def spread_of(values: Sequence[float]) -> Spread | None:
    """None without values."""
    if not values:
        return None
    ordered = sorted(values)
    return Spread(
        p50=round(quantile(ordered, 0.5), DIGITS), p99=round(quantile(ordered, 0.99), DIGITS), samples=len(ordered)
    )
