"""Two workers, of which one holds the part of a limit that the other needs."""

from __future__ import annotations

import asyncio
from typing import Any

from processors.targets.decisions.rate_shares import RateLimits, parts_of
from tests.fakes.permit_bus import HOP_S, PermitBus, PoolWorker, limited, model_of

__all__ = ["HOLDER", "ONE", "OTHERS", "SERVED", "in_flight", "later", "two_workers", "words"]

ONE = limited(concurrent_max=1)
(HOLDER,) = parts_of(RateLimits(concurrent_max=1), 12, target=ONE.name)
OTHERS = tuple(partition for partition in range(12) if partition != HOLDER)
SERVED = model_of(ONE)


def two_workers(bus: PermitBus, *targets: Any) -> tuple[PoolWorker, PoolWorker]:
    """One that holds the limit, and one that does not."""
    known = targets or (ONE,)
    return bus.add(HOLDER, targets=known), bus.add(*OTHERS, targets=known)


def in_flight(worker: PoolWorker) -> int:
    state = worker.pool.states.get(ONE.name)
    return state.in_flight if state is not None else 0


def words(bus: PermitBus, kind: type) -> int:
    return sum(isinstance(word, kind) for _, word in bus.words)


async def later(hops: int = 6) -> None:
    await asyncio.sleep(hops * HOP_S)
