"""What a gateway with thousands of clients does.

    python -m benchmarks.gateway steady                     # 10,000 clients, 500 of them reading answers
    python -m benchmarks.gateway steady --find-highest      # … and the highest rate of records without loss
    python -m benchmarks.gateway everyone                   # all read at once, or as many as can
    python -m benchmarks.gateway slow --pairs 10            # what clients that do not keep up cost the others
    python -m benchmarks.gateway storm                      # all cut off, all back within ten seconds
    python -m benchmarks.gateway idle                       # nobody speaks for an hour: what grows
    python -m benchmarks.gateway plain                      # the design one would write first, side by side

Broker, writer of the logs, gateway and clients are processes of their own; `--json` prints everything that was seen.
Exit code 1: a client did not get everything that it should have, once.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeAlias

import uvloop

from benchmarks.gateway import everyone, idle, plain, slow, steady, storm
from benchmarks.gateway.load import TOKEN_BYTES
from benchmarks.gateway.parts import Ground, measuring_ground
from benchmarks.gateway.report import lines_of
from benchmarks.gateway.soundness import is_sound
from infra.telemetry.log_setup import configure_logging

__all__ = ["main"]

Options: TypeAlias = argparse.Namespace
Seen: TypeAlias = steady.Steady | everyone.Everyone | slow.Slow | storm.Storm | plain.Plain | idle.Idle

ROLLUP_MS: Final = 500.0
TOKEN_MS: Final = 80.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A sub-command: its page, what its options are unless given, and how it runs."""

    page: str
    run: Callable[[Ground, steady.Plan, Options], Awaitable[Seen]]
    clients: int = 10_000
    streaming: int = 500
    records_per_s: float = 5_000.0
    seconds: float = 20.0
    token_bytes: int = TOKEN_BYTES


def say(text: str) -> None:
    """Progress, beside the figures."""
    print(text, file=sys.stderr, flush=True)


async def run_steady(ground: Ground, plan: steady.Plan, options: Options) -> Seen:
    return await steady.measure_steady(ground, plan, find_highest=options.find_highest, say=say)


async def run_everyone(ground: Ground, plan: steady.Plan, options: Options) -> Seen:
    pace = everyone.Pace(token_ms=options.token_ms, rollup_ms=options.rollup_ms)
    return await everyone.measure_everyone(ground, plan, pace, say=say)


async def run_slow(ground: Ground, plan: steady.Plan, options: Options) -> Seen:
    chosen = slow.SlowPlan(still=options.still, slow=options.slow, pairs=options.pairs, hold_s=options.hold_s)
    return await slow.measure_slow(ground, plan, chosen, say=say)


async def run_storm(ground: Ground, plan: steady.Plan, options: Options) -> Seen:
    return await storm.measure_storm(ground, plan, over_s=options.over_s, say=say)


async def run_idle(ground: Ground, plan: steady.Plan, options: Options) -> Seen:
    return await idle.measure_idle(ground, plan, growth_max=options.growth_max, say=say)


async def run_plain(ground: Ground, plan: steady.Plan, options: Options) -> Seen:
    chosen = plain.PlainPlan(
        still=options.still,
        cut=options.cut,
        rounds=options.rounds,
        pace=everyone.Pace(token_ms=options.token_ms, rollup_ms=options.rollup_ms),
        search_readers=options.search_readers,
        search_seconds=options.search_seconds,
    )
    return await plain.measure_plain(ground, plan, chosen, say=say)


SCENARIOS: Final = {
    "steady": Scenario(page=steady.__doc__ or "", run=run_steady),
    "everyone": Scenario(page=everyone.__doc__ or "", run=run_everyone, streaming=10_000, seconds=12.0),
    "slow": Scenario(
        page=slow.__doc__ or "", run=run_slow, clients=8_000, records_per_s=2_500.0, seconds=20.0, token_bytes=200
    ),
    "storm": Scenario(page=storm.__doc__ or "", run=run_storm, streaming=10_000, records_per_s=1_000.0, seconds=50.0),
    "idle": Scenario(
        page=idle.__doc__ or "", run=run_idle, streaming=0, seconds=float(os.environ.get("SOAK_S") or 3_600)
    ),
    "plain": Scenario(
        page=plain.__doc__ or "",
        run=run_plain,
        clients=2_000,
        streaming=200,
        records_per_s=1_000.0,
        seconds=10.0,
        token_bytes=60,
    ),
}


def parser() -> argparse.ArgumentParser:
    """All options."""
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.gateway",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = made.add_subparsers(dest="scenario", required=True, metavar="SCENARIO")
    for name, scenario in SCENARIOS.items():
        command = commands.add_parser(
            name,
            help=scenario.page.splitlines()[0].partition(": ")[2],
            description=scenario.page,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_common(command, scenario)
        ADDED[name](command)
    return made


def add_common(command: argparse.ArgumentParser, scenario: Scenario) -> None:
    add = command.add_argument
    add("--clients", type=int, default=scenario.clients, help="connected in all (default: %(default)s)")
    add("--seconds", type=float, default=scenario.seconds, help="of each wave (default: %(default)s)")
    if scenario.streaming < scenario.clients:
        add("--streaming", type=int, default=scenario.streaming, help="of them read an answer (default: %(default)s)")
    if scenario.run is not run_everyone:
        add("--records-per-s", type=float, default=scenario.records_per_s, help="of all (default: %(default)s)")
        add("--tokens-per-record", type=int, default=5, help="(default: %(default)s)")
    add("--token-bytes", type=int, default=scenario.token_bytes, help="of text (default: %(default)s)")
    add("--layout", choices=("dedicated", "shared"), default="shared", help="of the session topics")
    add("--client-processes", type=int, default=2, help="clients are spread over so many (default: %(default)s)")
    add(
        "--after-leaving-s",
        type=float,
        default=steady.AFTER_LEAVING_S,
        help="from the last client's leaving to the look at the memory; sessions are kept for 30 s",
    )
    add("--warm-up-s", type=float, default=steady.WARM_UP_S, help="100 clients read before anything counts")
    add("--settle-s", type=float, default=3.0, help="rest before memory is looked at (default: %(default)s)")
    add("--kafka", default="", help="a broker that runs already, in place of one of our own")
    add(
        "--folder", default="", help="for the broker's data (default: in memory where there is room, else as temporary)"
    )
    add(
        "--json",
        action="store_true",
        dest="as_json",
        help="everything that was seen, as one JSON object; the figures for people go to standard error",
    )


def add_steady(command: argparse.ArgumentParser) -> None:
    command.add_argument("--find-highest", action="store_true", help="look for the highest rate without loss, too")


def add_pace(command: argparse.ArgumentParser) -> None:
    command.add_argument("--token-ms", type=float, default=TOKEN_MS, help="between an answer's tokens")
    command.add_argument("--rollup-ms", type=float, default=ROLLUP_MS, help="tokens within it are one record")


def add_slow(command: argparse.ArgumentParser) -> None:
    command.add_argument("--still", type=int, default=1_000, help="clients that never read (default: %(default)s)")
    command.add_argument("--slow", type=int, default=1_000, help="clients that read 1 KB/s (default: %(default)s)")
    command.add_argument("--pairs", type=int, default=10, help="of waves, without and with (default: %(default)s)")
    command.add_argument("--hold-s", type=float, default=25.0, help="left alone after the last wave, until 4508")


def add_storm(command: argparse.ArgumentParser) -> None:
    command.add_argument("--over-s", type=float, default=10.0, help="they come back over so many seconds")


def add_idle(command: argparse.ArgumentParser) -> None:
    command.add_argument("--growth-max", type=float, default=1.0, help="MB/min that are allowed (default: %(default)s)")


def add_plain(command: argparse.ArgumentParser) -> None:
    command.add_argument("--search-readers", type=int, default=10_000, help="the most that are tried at once")
    command.add_argument("--still", type=int, default=100, help="clients that never read (default: %(default)s)")
    command.add_argument("--cut", type=int, default=100, help="clients that are cut off once (default: %(default)s)")
    command.add_argument("--rounds", type=int, default=2, help="(default: %(default)s)")
    command.add_argument(
        "--search-seconds", type=float, default=8.0, help="of each trial of a number of readers; 0: none"
    )
    add_pace(command)


ADDED: Final[dict[str, Callable[[argparse.ArgumentParser], None]]] = {
    "steady": add_steady,
    "everyone": add_pace,
    "slow": add_slow,
    "storm": add_storm,
    "idle": add_idle,
    "plain": add_plain,
}


async def measure(options: Options) -> Seen:
    """Run what was chosen."""
    scenario = SCENARIOS[options.scenario]
    streaming = min(options.clients, getattr(options, "streaming", options.clients))
    plan = steady.Plan(
        clients=options.clients,
        streaming=streaming,
        records_per_s=getattr(options, "records_per_s", 0.0),
        tokens_per_record=getattr(options, "tokens_per_record", 1),
        seconds=options.seconds,
        token_bytes=options.token_bytes,
        processes=options.client_processes,
        after_leaving_s=options.after_leaving_s,
        settle_s=options.settle_s,
        warm_up_s=options.warm_up_s,
        warm_up=min(steady.WARM_UP_CLIENTS, options.clients),
    )
    async with measuring_ground(options.layout, options.kafka, options.folder) as ground:
        return await scenario.run(ground, plan, options)


def as_json(seen: Seen) -> dict[str, Any]:
    """All fields, and what follows from them."""
    told = asdict(seen)
    if isinstance(seen, slow.Slow):
        told |= {
            "p99_ratios": seen.p99_ratios,
            "p99_ratio": seen.p99_ratio,
            "later_p99_ratios": seen.later_p99_ratios,
            "later_p99_ratio": seen.later_p99_ratio,
        }
    return told


def main() -> None:
    """Parse, run, print."""
    options = parser().parse_args()
    configure_logging("json", "error", "bench")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    seen = uvloop.run(measure(options))
    print("\n".join(lines_of(seen)), file=sys.stderr if options.as_json else sys.stdout)
    if options.as_json:
        print(json.dumps(as_json(seen)))
    sys.exit(0 if is_sound(seen) else 1)


if __name__ == "__main__":
    main()
