"""Which part of a target's limits this worker may use, from the partitions of users that it owns.

A limit belongs to a key, and every worker calls with the same key. Nobody coordinates: each worker computes its part
from its own partitions alone, and since a partition has one owner, the parts never sum to more than the limit.

A target is cut into as many equal parts as there are partitions, but into no more than leave each part at least one
request per minute, one concurrent call and one ordinary call's tokens: a third of a request is of no use to anybody.
So a small limit has few parts, and one that cannot be cut has a single part: it is leased whole to whoever owns that
part's partition. Which partitions hold parts is counted from a hash of the target's name, evenly spaced: every worker
comes to the same answer, and two small targets do not end up with the same owner. How many parts there are depends on
the limits and the number of partitions, never on who owns what, else two workers could disagree about it.

Invariants: parts of a disjoint cover sum to the limit exactly; concurrency is whole; None stays None. A worker that
owns no part (`holds_part`) has limits of 0 and asks the owner of one for a permit (`processors.targets.permit_asks`).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Final

__all__ = [
    "PART_TOKENS_MIN",
    "PartitionShare",
    "RateLimits",
    "held_share",
    "holds_part",
    "part_limits",
    "parts_of",
    "with_share",
]

PART_TOKENS_MIN: Final = 8_192
"""Tokens per minute below which a part is too small for one ordinary prompt with its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimits:
    """What a target allows; None: unlimited."""

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    """Input and output."""
    concurrent_max: int | None = None


@dataclass(frozen=True, slots=True)
class PartitionShare:
    """The partitions that a worker owns, of how many."""

    owned: frozenset[int]
    partitions: int


def with_share(limits: RateLimits, share: PartitionShare, *, target: str) -> RateLimits:
    """This worker's part of the limits of the key that `target` names."""
    holders = parts_of(limits, share.partitions, target=target)
    held = [part for part, partition in enumerate(holders) if partition in share.owned]
    return RateLimits(
        requests_per_minute=part_sum(limits.requests_per_minute, len(held), len(holders)),
        tokens_per_minute=part_sum(limits.tokens_per_minute, len(held), len(holders)),
        concurrent_max=whole_part_sum(limits.concurrent_max, held, len(holders)),
    )


def held_share(limits: RateLimits, share: PartitionShare, *, target: str) -> float:
    """This worker's part of what the key has left, from 0 to 1: the same parts as of its limits."""
    holders = parts_of(limits, share.partitions, target=target)
    return sum(partition in share.owned for partition in holders) / len(holders)


def holds_part(limits: RateLimits, share: PartitionShare, *, target: str) -> bool:
    """Whether this worker may call the target on its own account: it is unlimited, or a part of it is here."""
    if limits == RateLimits():
        return True
    return not share.owned.isdisjoint(parts_of(limits, share.partitions, target=target))


def part_limits(limits: RateLimits, partitions: int, *, target: str) -> RateLimits:
    """What the owner of one part alone may use: the largest part where concurrency can't be cut evenly."""
    first, *_ = parts_of(limits, partitions, target=target)
    return with_share(limits, PartitionShare(frozenset({first}), partitions), target=target)


def parts_of(limits: RateLimits, partitions: int, *, target: str) -> tuple[int, ...]:
    """The partitions that hold a part each; one partition: the target is leased whole to its owner."""
    most = [float(partitions)]
    if limits.requests_per_minute is not None:
        most.append(limits.requests_per_minute)
    if limits.concurrent_max is not None:
        most.append(limits.concurrent_max)
    if limits.tokens_per_minute is not None:
        most.append(limits.tokens_per_minute / PART_TOKENS_MIN)
    parts = max(1, int(min(most)))
    first = zlib.crc32(target.encode())
    return tuple((first + part * partitions // parts) % partitions for part in range(parts))


def part_sum(limit: float | None, held: int, parts: int) -> float | None:
    return None if limit is None else limit * held / parts


def whole_part_sum(limit: int | None, held: list[int], parts: int) -> int | None:
    if limit is None:
        return None
    each, over = divmod(limit, parts)
    return sum(each + (part < over) for part in held)
