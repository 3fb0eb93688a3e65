"""`storm`: everybody is cut off in mid-answer and comes back with a cursor within ten seconds.

All clients read an answer each, slowly written, before, during and after; so everyone misses something while away and
holes and duplicates show in the accounts of the whole answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

from benchmarks.gateway.client_fleet import client_fleet, together
from benchmarks.gateway.parts import Ground, running_gateway
from benchmarks.gateway.steady import Memory, Plan, connected
from benchmarks.gateway.wave import READERS, Wave, quantiles, run_wave

__all__ = ["Storm", "measure_storm"]

BEFORE_S_SHARE: Final = 0.2
"""Of the wave, until everybody is cut off."""


@dataclass(slots=True, kw_only=True)
class Storm:
    """What was seen."""

    layout: str
    clients: int
    over_s: float
    memory: Memory
    cut: int = 0
    resumed: int = 0
    resumed_within_s: float = 0.0
    """From the first that came back to the last that was attached."""
    attach_ms: list[float] = field(default_factory=list)
    """p50, p90, p99, largest: from a client's turn to come back to being attached, refusals included."""
    tries: int = 0
    recovered: dict[str, int] = field(default_factory=dict)
    """How the gateway answered: `live` missed nothing, `replayed` got what it missed."""
    wave: Wave | None = None


async def measure_storm(ground: Ground, plan: Plan, *, over_s: float, say: Callable[[str], None]) -> Storm:
    """Run it once."""
    run = uuid4().hex[:8]
    async with (
        running_gateway(ground) as gateway,
        client_fleet(run, gateway.port, plan.processes) as fleet,
    ):
        memory = await connected(ground, gateway, fleet, plan, run)
        seen = Storm(layout=ground.layout, clients=plan.clients, over_s=over_s, memory=memory)

        async def storm() -> None:
            await asyncio.sleep(plan.seconds * BEFORE_S_SHARE)
            seen.cut = await fleet.total("cut", "cut", group=READERS)
            say(f"{seen.cut:,} clients cut off")
            note(seen, together(await fleet.tell("return", group=READERS, over_s=over_s)))
            say(f"{seen.resumed:,} are back after {seen.resumed_within_s:.1f} s")

        seen.wave = await run_wave(ground, gateway, fleet, plan.load(ground, run, "t0"), during=storm)
    return seen


def note(seen: Storm, told: dict[str, Any]) -> None:
    seen.resumed, seen.resumed_within_s = told["attached"], round(told["seconds"], 2)
    seen.tries, seen.recovered = told["tries"], told["recovered"]
    seen.attach_ms = quantiles([each * 1_000 for each in told["took_s"]])
