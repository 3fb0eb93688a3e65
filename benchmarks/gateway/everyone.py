"""`everyone`: all clients read at once, each a token every 80 ms, told together within half a second.

A record holds what comes in at most the roll-up time, as a worker joins it. If not all can be served, the highest
number of readers is looked for that is; the other clients stay connected.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import uuid4

from benchmarks.gateway.client_fleet import ClientFleet, client_fleet
from benchmarks.gateway.parts import Ground, RunningGateway, running_gateway
from benchmarks.gateway.search import highest
from benchmarks.gateway.steady import Memory, Plan, connected, memory_after
from benchmarks.gateway.wave import Wave, run_wave

__all__ = ["Everyone", "Pace", "highest_count", "measure_everyone"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast each answer is written."""

    token_ms: float
    rollup_ms: float

    @property
    def tokens_per_record(self) -> int:
        """As many as come within the roll-up time."""
        return max(1, int(self.rollup_ms / self.token_ms))

    def records_per_s(self, readers: int) -> float:
        """Of so many answers together."""
        return readers * 1_000 / (self.token_ms * self.tokens_per_record)


@dataclass(slots=True, kw_only=True)
class Everyone:
    """What was seen."""

    layout: str
    clients: int
    pace: Pace
    memory: Memory
    highest: Wave | None = None
    trials: list[Wave] = field(default_factory=list)


async def measure_everyone(ground: Ground, plan: Plan, pace: Pace, *, say: Callable[[str], None]) -> Everyone:
    """Run it once. `plan`: how many clients and for how long; its rates are not used."""
    run = uuid4().hex[:8]
    async with (
        running_gateway(ground) as gateway,
        client_fleet(run, gateway.port, plan.processes) as fleet,
    ):
        memory = await connected(ground, gateway, fleet, plan, run)
        seen = Everyone(layout=ground.layout, clients=plan.clients, pace=pace, memory=memory)
        seen.highest = await highest_count(
            ground, gateway, fleet, plan, run=run, pace=pace, trials=seen.trials, say=say
        )
        await memory_after(memory, gateway, fleet, plan)
    return seen


async def highest_count(
    ground: Ground,
    gateway: RunningGateway,
    fleet: ClientFleet,
    plan: Plan,
    *,
    run: str,
    pace: Pace,
    trials: list[Wave],
    say: Callable[[str], None],
) -> Wave | None:
    """The most readers that it keeps up with; all `plan.streaming` are attached and tried first."""

    async def trial(count: float) -> Wave:
        readers = int(count)
        load = plan.load(
            ground,
            run,
            f"n{len(trials)}",
            streaming=readers,
            records_per_s=pace.records_per_s(readers),
            tokens_per_record=pace.tokens_per_record,
        )
        return await run_wave(ground, gateway, fleet, load)

    return await highest(trial, plan.streaming, trials, say)
