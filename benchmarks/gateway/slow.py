"""`slow`: what clients that do not keep up cost the others, and what they get themselves.

In pairs of waves, one without and one with them (which is first alternates): some that never read and some that read
1 KB/s, on the same answers as the normal ones, so that the log has the same load in both. The figure is the median of
the pairs' ratios of p99: of the whole wave, and of what was written once the slow ones had been found out (until then
they are readers like all others, and four times as many as those). After each wave with them they read freely: each
must have the whole answer, from the log or after coming back with its cursor. After the last pair they are left alone
for a while first, so that the gateway has given up those who take nothing (4508).
"""

from __future__ import annotations

import asyncio
import statistics
import urllib.request
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import uuid4

from benchmarks.gateway.client_fleet import ClientFleet, client_fleet
from benchmarks.gateway.load import Load
from benchmarks.gateway.parts import Ground, RunningGateway, running_gateway
from benchmarks.gateway.slow_readers import Outcome, connect_beside, outcome_of
from benchmarks.gateway.steady import Memory, Plan, connected
from benchmarks.gateway.wave import Wave, run_wave

__all__ = ["STILL", "Slow", "SlowPlan", "measure_slow"]

STILL: Final = "still"
SLOW: Final = "slow"
RECOVER_S_MAX: Final = 90.0
LOOK_S: Final = 1.0
METRICS_S_MAX: Final = 5.0
UNSENT: Final = "tokenwire_gateway_unsent_bytes"
CLOSED: Final = "tokenwire_gateway_evictions_total"
MODES: Final = "tokenwire_gateway_mode_changes_total"
P99: Final = 2
"""In a wave's quantiles."""
QUIET_S: Final = 1.0
"""After they left, before the next wave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlowPlan:
    """How many of them, and how often."""

    still: int
    slow: int
    pairs: int
    hold_s: float


@dataclass(slots=True, kw_only=True)
class Slow:
    """What was seen."""

    layout: str
    plan: SlowPlan
    memory: Memory
    without: list[Wave] = field(default_factory=list)
    beside: list[Wave] = field(default_factory=list)
    """The waves with them."""
    still: Outcome = field(default_factory=Outcome)
    slow: Outcome = field(default_factory=Outcome)
    held_still: Outcome = field(default_factory=Outcome)
    """Those of the last pair, read after they were left alone."""
    held_slow: Outcome = field(default_factory=Outcome)
    unsent_mib_most: float = 0.0
    """By the gateway's own account of what it holds for its clients."""
    unsent_mib_max: float = 0.0
    """The cap of that."""
    closed: dict[str, float] = field(default_factory=dict)
    """Connections that the gateway closed, by code, over the whole run."""
    modes: dict[str, float] = field(default_factory=dict)
    """How often a connection was put on another way of being served."""

    @property
    def p99_ratios(self) -> list[float]:
        """Of each pair."""
        return [ratio(beside.relay_ms, without.relay_ms) for beside, without in self.waves()]

    @property
    def later_p99_ratios(self) -> list[float]:
        """The same of what was written after the first seconds."""
        return [ratio(beside.later_ms, without.later_ms) for beside, without in self.waves()]

    @property
    def p99_ratio(self) -> float:
        """The median of all pairs."""
        return round(statistics.median(self.p99_ratios), 3) if self.beside else 0.0

    @property
    def later_p99_ratio(self) -> float:
        """The median of all pairs, after the first seconds."""
        return round(statistics.median(self.later_p99_ratios), 3) if self.beside else 0.0

    def waves(self) -> Iterator[tuple[Wave, Wave]]:
        """With and without."""
        return zip(self.beside, self.without, strict=True)


def ratio(beside_ms: Sequence[float], without_ms: Sequence[float]) -> float:
    """Of two p99s."""
    return round(beside_ms[P99] / max(0.001, without_ms[P99]), 3)


async def measure_slow(ground: Ground, plan: Plan, slow_plan: SlowPlan, *, say: Callable[[str], None]) -> Slow:
    """Run it once."""
    run = uuid4().hex[:8]
    async with (
        running_gateway(ground) as gateway,
        client_fleet(run, gateway.port, plan.processes) as fleet,
    ):
        memory = await connected(ground, gateway, fleet, plan, run)
        seen = Slow(layout=ground.layout, plan=slow_plan, memory=memory)
        seen.unsent_mib_max = round(ground.settings.gateway_bytes_max / 2**20, 1)
        for number in range(slow_plan.pairs):
            for beside in ((False, True), (True, False))[number % 2]:
                load = plan.load(ground, run, f"p{number}{'b' if beside else 'a'}")
                if not beside:
                    seen.without.append(await run_wave(ground, gateway, fleet, load, during=looks(seen, gateway, load)))
                    continue
                held = number == slow_plan.pairs - 1
                await one_beside(ground, gateway, fleet, seen, load=load, held=held)
            seen.closed = await asyncio.to_thread(metric, gateway.port, CLOSED)
            seen.modes = await asyncio.to_thread(metric, gateway.port, MODES)
            say(
                f"pair {number + 1} of {slow_plan.pairs}: p99 ratio {seen.p99_ratios[-1]:.2f}, "
                f"later {seen.later_p99_ratios[-1]:.2f}"
            )
    return seen


async def one_beside(
    ground: Ground, gateway: RunningGateway, fleet: ClientFleet, seen: Slow, *, load: Load, held: bool
) -> None:
    """A wave with them."""
    plan = seen.plan
    await connect_beside(fleet, STILL, "still", plan.still, load.streaming)
    await connect_beside(fleet, SLOW, "slow", plan.slow, load.streaming)
    seen.beside.append(
        await run_wave(ground, gateway, fleet, load, others=(STILL, SLOW), during=looks(seen, gateway, load))
    )
    if held:
        await asyncio.sleep(plan.hold_s)
        await look_once(seen, gateway.port)
    still = await outcome_of(fleet, STILL, load, within_s=RECOVER_S_MAX)
    slow = await outcome_of(fleet, SLOW, load, within_s=RECOVER_S_MAX)
    (seen.held_still if held else seen.still).add(still)
    (seen.held_slow if held else seen.slow).add(slow)
    for group in (STILL, SLOW):
        await fleet.tell("leave", group=group)
    await asyncio.sleep(QUIET_S)


def looks(seen: Slow, gateway: RunningGateway, load: Load) -> Callable[[], Coroutine[None, None, None]]:
    """Looks at the gateway's figures while a wave is written, with them and without: it is work too."""

    async def look() -> None:
        for _ in range(max(1, int(load.seconds / LOOK_S))):
            await asyncio.sleep(LOOK_S)
            await look_once(seen, gateway.port)

    return look


async def look_once(seen: Slow, port: int) -> None:
    unsent = (await asyncio.to_thread(metric, port, UNSENT)).get("", 0.0)
    seen.unsent_mib_most = max(seen.unsent_mib_most, round(unsent / 2**20, 2))


def metric(port: int, name: str) -> dict[str, float]:
    """A gateway's figure as it publishes it, by the value of its label; without a label under the empty one."""
    found = {}
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=METRICS_S_MAX) as answer:
        for line in answer.read().decode().splitlines():
            said, _, value = line.rpartition(" ")
            bare, _, label = said.partition("{")
            if bare == name:
                found[label.partition('"')[2].partition('"')[0]] = float(value)
    return found
