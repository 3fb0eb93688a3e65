"""`plain`: the design that one would write first against this gateway, in turns, on one broker with the same clients.

The plain design (`benchmarks/plain_gateway.py`) is one aiokafka consumer over all session topics, an unbounded queue
for each client and `ws.send` for each token. Each round starts either gateway anew, the first one alternating, and
measures: memory for a waiting connection; a wave of readers; the same wave with clients beside that never read and
others that are cut off in the middle and come back a second later; in the last round, the most readers it keeps up
with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final, get_args
from uuid import uuid4

from benchmarks.gateway.client_fleet import ClientFleet, client_fleet
from benchmarks.gateway.everyone import Pace, highest_count
from benchmarks.gateway.parts import Design, Ground, RunningGateway, running_gateway
from benchmarks.gateway.slow import STILL
from benchmarks.gateway.slow_readers import Outcome, connect_beside, outcome_of
from benchmarks.gateway.steady import Memory, Plan, connected, memory_after
from benchmarks.gateway.wave import Wave, run_wave

__all__ = ["Plain", "PlainPlan", "Side", "measure_plain"]

CUT: Final = "cut"
CUT_AT: Final = 0.4
"""Of the wave."""
AWAY_S: Final = 1.0
RECOVER_S_MAX: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainPlan:
    """What is measured besides the wave."""

    still: int
    cut: int
    rounds: int
    pace: Pace
    search_readers: int
    """The most readers that are tried."""
    search_seconds: float
    """Of each trial of a number of readers; 0: none."""


@dataclass(slots=True, kw_only=True)
class Side:
    """What was seen of one design in one round."""

    design: Design
    memory: Memory
    wave: Wave
    beside: Wave
    """With the ones that never read and the ones that are cut off."""
    still: Outcome = field(default_factory=Outcome)
    cut: Outcome = field(default_factory=Outcome)
    resident_mib_with_still: float = 0.0
    """After that wave, while the still ones still hold what they did not read."""
    highest: Wave | None = None
    trials: list[Wave] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Plain:
    """Both designs, round by round."""

    layout: str
    plan: PlainPlan
    sides: list[Side] = field(default_factory=list)


async def measure_plain(ground: Ground, plan: Plan, plain_plan: PlainPlan, *, say: Callable[[str], None]) -> Plain:
    """Run all rounds."""
    seen = Plain(layout=ground.layout, plan=plain_plan)
    designs: tuple[Design, ...] = get_args(Design)
    for number in range(plain_plan.rounds):
        for design in (designs, tuple(reversed(designs)))[number % 2]:
            say(f"round {number + 1} of {plain_plan.rounds}, {design}")
            searches = number == plain_plan.rounds - 1 and plain_plan.search_seconds > 0
            seen.sides.append(await one_side(ground, design, plan, plain_plan, say=say if searches else None))
    return seen


async def one_side(
    ground: Ground, design: Design, plan: Plan, plain_plan: PlainPlan, *, say: Callable[[str], None] | None
) -> Side:
    """One design once. `say`: where to tell of the search for the most readers; None: none."""
    run = uuid4().hex[:8]
    async with (
        running_gateway(ground, design) as gateway,
        client_fleet(run, gateway.port, plan.processes) as fleet,
    ):
        memory = await connected(ground, gateway, fleet, plan, run)
        wave = await run_wave(ground, gateway, fleet, plan.load(ground, run, "t0"))
        side = Side(design=design, memory=memory, wave=wave, beside=wave)
        await with_others(ground, gateway, fleet, plan, run=run, side=side, plain_plan=plain_plan)
        await memory_after(memory, gateway, fleet, plan)
    if say is not None:
        await search(ground, plan, plain_plan, side=side, say=say)
    return side


async def with_others(
    ground: Ground,
    gateway: RunningGateway,
    fleet: ClientFleet,
    plan: Plan,
    *,
    run: str,
    side: Side,
    plain_plan: PlainPlan,
) -> None:
    """The same wave with clients that never read, and clients that are cut off once."""
    load = plan.load(ground, run, "t1")
    await connect_beside(fleet, STILL, "still", plain_plan.still, load.streaming)
    await connect_beside(fleet, CUT, "normal", plain_plan.cut, load.streaming)

    async def cut_once() -> None:
        await asyncio.sleep(load.seconds * CUT_AT)
        await fleet.tell("cut", group=CUT)
        await asyncio.sleep(AWAY_S)
        await fleet.tell("return", group=CUT, over_s=0.0)

    side.beside = await run_wave(ground, gateway, fleet, load, others=(STILL, CUT), during=cut_once)
    side.resident_mib_with_still = side.beside.resident_mib_most
    side.still = await outcome_of(fleet, STILL, load, within_s=RECOVER_S_MAX)
    side.cut = await outcome_of(fleet, CUT, load, within_s=RECOVER_S_MAX)
    for group in (STILL, CUT):
        await fleet.tell("leave", group=group)


async def search(ground: Ground, plan: Plan, plain_plan: PlainPlan, *, side: Side, say: Callable[[str], None]) -> None:
    """The most readers, on a gateway of its own: one that has collapsed takes time to be itself again."""
    run = uuid4().hex[:8]
    most = plain_plan.search_readers
    everyone = replace(plan, clients=most, streaming=most, seconds=plain_plan.search_seconds)
    async with (
        running_gateway(ground, side.design) as gateway,
        client_fleet(run, gateway.port, plan.processes) as fleet,
    ):
        await connected(ground, gateway, fleet, everyone, run)
        side.highest = await highest_count(
            ground, gateway, fleet, everyone, run=run, pace=plain_plan.pace, trials=side.trials, say=say
        )
