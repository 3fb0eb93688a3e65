"""An hour of answers with some clients that do not keep up: what grows, and whether anything is lost.

    python -m benchmarks.soak                        # SOAK_S seconds, 3,600 unless set
    python -m benchmarks.soak --seconds 900 --clients 80

A line of its own (`tokenwire up` on free ports) with clients in a process of their own that ask, read and ask again; a
tenth of them read 1 KB/s. Resident memory of gateway and worker is looked at every few seconds and printed by the
minute; its slope is the least-squares line through what was seen after the first quarter, in which a process takes
what it takes once. At the end: less than 1 MB/min for both, every answer whole and once; else the exit code is 1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import uuid4

import uvloop

from benchmarks.gateway.client_fleet import ClientFleet, client_fleet
from benchmarks.gateway.processes import resident_mib
from infra.settings import load_settings
from infra.telemetry.log_setup import configure_logging
from tokenwire.benchmark.own_line import OwnLine, own_line
from tokenwire.benchmark.process_usage import process_ids

__all__ = ["MemoryCurve", "main", "slope_per_min"]

WATCHED: Final = ("gateway", "worker")
SETTLING_SHARE: Final = 0.25
MINUTE_S: Final = 60.0
LAST_ANSWERS_S_MAX: Final = 90.0
FAULTS: Final = ("incomplete", "hole_tokens", "duplicate_tokens", "cut_off")


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakPlan:
    """What is asked of the line."""

    seconds: float
    clients: int
    slow_share: float
    tokens: int
    pace_ms: int
    every_s: float
    minute_s: float
    growth_mb_per_min_max: float
    layout: str

    @property
    def prompt(self) -> str:
        """What the simulated model is asked."""
        return f"[[sim tokens={self.tokens} pace_ms={self.pace_ms} jitter=0.1]] Tell me about rivers."

    @property
    def slow(self) -> list[int]:
        """The numbers of those that read slowly, spread evenly."""
        count = round(self.clients * self.slow_share)
        return [number * self.clients // count for number in range(count)]


@dataclass(slots=True)
class MemoryCurve:
    """Resident memory of one process: (seconds since the start, MiB)."""

    seen: list[tuple[float, float]] = field(default_factory=list)

    def settled(self, share: float = SETTLING_SHARE) -> list[tuple[float, float]]:
        """Without what was seen while it settled."""
        last_s = self.seen[-1][0] if self.seen else 0.0
        return [(at_s, mib) for at_s, mib in self.seen if at_s >= last_s * share]

    def growth_mb_per_min(self) -> float:
        """By the line through what was seen after settling, in millions of bytes."""
        return slope_per_min([(at_s, mib * 2**20 / 1e6) for at_s, mib in self.settled()])


@dataclass(slots=True, kw_only=True)
class Soak:
    """What was seen."""

    plan: SoakPlan
    curves: dict[str, MemoryCurve] = field(default_factory=lambda: {name: MemoryCurve() for name in WATCHED})
    tally: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def faults(self) -> int:
        """Answers and tokens that were not as they should be."""
        return sum(of[name] for of in self.tally.values() for name in FAULTS)

    @property
    def grows(self) -> bool:
        """Whether either process grew faster than it may."""
        worst = max(curve.growth_mb_per_min() for curve in self.curves.values())
        return worst >= self.plan.growth_mb_per_min_max


def slope_per_min(points: Sequence[tuple[float, float]]) -> float:
    """Of the least-squares line through (seconds, value); 0 for fewer than two different moments."""
    if not points:
        return 0.0
    mean_s = sum(at_s for at_s, _ in points) / len(points)
    mean = sum(value for _, value in points) / len(points)
    spread = sum((at_s - mean_s) ** 2 for at_s, _ in points)
    return MINUTE_S * sum((at_s - mean_s) * (value - mean) for at_s, value in points) / spread if spread else 0.0


async def soaked(plan: SoakPlan) -> Soak:
    """Start the line, let it run, stop it. Raises LineNotStarted."""
    seen = Soak(plan=plan)
    async with own_line(load_settings().home.absolute(), plan.layout) as line:
        port = urlsplit(line.line.page).port or 80
        run = uuid4().hex[:8]
        async with client_fleet(run, port, 1, module="benchmarks.gateway.asking_clients") as fleet:
            tokens = {str(number): line.token_for(f"{run}-{number}") for number in range(plan.clients)}
            answer_s = plan.tokens * plan.pace_ms / 1_000
            order = {"numbers": [0, plan.clients, 1], "tokens": tokens, "slow": plan.slow, "prompt": plan.prompt}
            await fleet.tell("ask", spread_s=min(answer_s, plan.seconds / 4), **order)
            await watched(seen, line, fleet)
            seen.tally = (await fleet.tell("stop", within_s=LAST_ANSWERS_S_MAX))[0]
    return seen


async def watched(seen: Soak, line: OwnLine, fleet: ClientFleet) -> None:
    """Look at the memory until the time is over, and print by the minute."""
    plan, began_s, told_s = seen.plan, time.perf_counter(), 0.0
    pids = process_ids(line.pid)
    while (at_s := time.perf_counter() - began_s) < plan.seconds:
        for name, curve in seen.curves.items():
            curve.seen.append((at_s, resident_mib(pids[name])))
        if at_s - told_s >= plan.minute_s:
            told_s = at_s
            seen.tally = (await fleet.tell("tally"))[0]
            print(minute_line(seen, at_s), flush=True)
        await asyncio.sleep(plan.every_s)
    if process_ids(line.pid) | pids != pids:
        raise SystemExit("a process of the line was started anew: its memory cannot be compared")


def minute_line(seen: Soak, at_s: float) -> str:
    """How it stands."""
    told = [
        f"{name} {curve.seen[-1][1]:.1f} MiB, {curve.growth_mb_per_min():+.2f} MB/min"
        for name, curve in seen.curves.items()
    ]
    answers = sum(of["answers"] for of in seen.tally.values())
    tokens = sum(of["tokens"] for of in seen.tally.values())
    return f"{at_s / MINUTE_S:6.1f} min  {'; '.join(told)}; {answers:,} answers, {tokens / at_s:,.0f} tokens/s"


def report(seen: Soak) -> None:
    """The end."""
    for kind, of in seen.tally.items():
        print(
            f"{of['clients']} {kind} clients: {of['answers']:,} answers, {of['tokens']:,} tokens; {of['incomplete']} "
            f"incomplete, {of['hole_tokens']} tokens in holes, {of['duplicate_tokens']} twice, {of['cut_off']} cut "
            f"off, told to try again {of['put_off']} times"
        )
    for name, curve in seen.curves.items():
        settled = curve.settled()
        print(
            f"{name}: {settled[0][1]:.1f} MiB after settling, {settled[-1][1]:.1f} at the end, "
            f"{curve.growth_mb_per_min():+.3f} MB/min"
        )
    verdict = "more" if seen.grows else "less"
    print(f"growth: {verdict} than {seen.plan.growth_mb_per_min_max:g} MB/min")


def options() -> tuple[SoakPlan, bool]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--seconds", type=float, default=float(os.environ.get("SOAK_S") or 3_600), help="default: SOAK_S, else 3600")
    add("--clients", type=int, default=40)
    add("--slow-share", type=float, default=0.1, help="of the clients read 1 KB/s (default: %(default)s)")
    add("--tokens", type=int, default=100, help="of an answer (default: %(default)s)")
    add("--pace-ms", type=int, default=50, help="between two tokens (default: %(default)s)")
    add("--every-s", type=float, default=5.0, help="between two looks (default: %(default)s)")
    add("--minute-s", type=float, default=MINUTE_S, help="between two printed lines (default: %(default)s)")
    add("--growth-max", type=float, default=1.0, help="MB/min that are allowed (default: %(default)s)")
    add("--layout", choices=("dedicated", "shared"), default="shared", help="of the session topics")
    add("--json", action="store_true", dest="as_json", help="everything that was seen, as a last line")
    chosen = parser.parse_args()
    configure_logging("json", "error", "soak")
    plan = SoakPlan(
        seconds=chosen.seconds,
        clients=chosen.clients,
        slow_share=chosen.slow_share,
        tokens=chosen.tokens,
        pace_ms=chosen.pace_ms,
        every_s=chosen.every_s,
        minute_s=chosen.minute_s,
        growth_mb_per_min_max=chosen.growth_max,
        layout=chosen.layout,
    )
    return plan, chosen.as_json


def main() -> None:
    """Parse, run, print, judge."""
    plan, as_json = options()
    seen = uvloop.run(soaked(plan))
    report(seen)
    if as_json:
        told: dict[str, Any] = asdict(seen)
        told["growth_mb_per_min"] = {name: curve.growth_mb_per_min() for name, curve in seen.curves.items()}
        print(json.dumps(told))
    sys.exit(1 if seen.faults or seen.grows else 0)


if __name__ == "__main__":
    main()
