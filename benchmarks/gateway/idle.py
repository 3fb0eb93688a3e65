"""`idle`: many clients connected, nobody speaks but for pings; what grows in an hour, and what all leaving gives back.

Resident memory is looked at every few seconds; its slope is the least-squares line through what was seen after the
first quarter. Then everybody leaves, and it is compared with before they came.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from uuid import uuid4

from benchmarks.gateway.client_fleet import client_fleet
from benchmarks.gateway.parts import Ground, RunningGateway, running_gateway
from benchmarks.gateway.processes import resident_mib
from benchmarks.gateway.steady import IDLE, Memory, Plan, connected, memory_after
from benchmarks.soak import MemoryCurve

__all__ = ["LEFT_RATIO_MAX", "Idle", "measure_idle"]

LEFT_RATIO_MAX: Final = 1.2
MINUTE_S: Final = 60.0
LOOKS_MIN: Final = 20


@dataclass(slots=True, kw_only=True)
class Idle:
    """What was seen."""

    layout: str
    memory: Memory
    growth_mb_per_min_max: float
    seconds: float
    cut_off: int = 0
    """Clients whose connection did not last."""
    curve: MemoryCurve = field(default_factory=MemoryCurve)
    """Of the gateway, while all were connected."""
    growth_mb_per_min: float = 0.0

    @property
    def is_sound(self) -> bool:
        """Nobody was cut off, nothing grew faster than it may, and what was taken was given back."""
        given_back = self.memory.left_ratio <= LEFT_RATIO_MAX
        return not self.cut_off and given_back and self.growth_mb_per_min < self.growth_mb_per_min_max


async def measure_idle(ground: Ground, plan: Plan, *, growth_max: float, say: Callable[[str], None]) -> Idle:
    """Run it once."""
    run = uuid4().hex[:8]
    async with (
        running_gateway(ground) as gateway,
        client_fleet(run, gateway.port, plan.processes) as fleet,
    ):
        memory = await connected(ground, gateway, fleet, plan, run)
        seen = Idle(layout=ground.layout, memory=memory, growth_mb_per_min_max=growth_max, seconds=plan.seconds)
        await watched(seen, gateway, say)
        seen.growth_mb_per_min = round(seen.curve.growth_mb_per_min(), 3)
        seen.cut_off = sum(account["gone"] for account in await fleet.accounts(IDLE))
        await memory_after(memory, gateway, fleet, plan)
    return seen


async def watched(seen: Idle, gateway: RunningGateway, say: Callable[[str], None]) -> None:
    """Look at the memory until the time is over; a line each minute."""
    began_s, told_s = time.perf_counter(), 0.0
    while (at_s := time.perf_counter() - began_s) < seen.seconds:
        seen.curve.seen.append((at_s, resident_mib(gateway.pid)))
        if at_s - told_s >= MINUTE_S:
            told_s = at_s
            growth = seen.curve.growth_mb_per_min()
            say(f"{at_s / MINUTE_S:6.1f} min  gateway {seen.curve.seen[-1][1]:.1f} MiB, {growth:+.2f} MB/min")
        await asyncio.sleep(min(5.0, seen.seconds / LOOKS_MIN))
