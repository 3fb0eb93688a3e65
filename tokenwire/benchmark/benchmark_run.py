"""The whole run: a line of its own, a warm-up, rounds of interleaved waves, and the report made of them."""

from __future__ import annotations

import gc
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import msgspec

from infra.clickhouse.reader_token import reader_token
from tokenwire.benchmark.direct_path import DirectPath
from tokenwire.benchmark.hop_times import HopRow, hops_of, read_hop_rows
from tokenwire.benchmark.line_path import LinePath
from tokenwire.benchmark.method import DIRECT, THROUGH, Method
from tokenwire.benchmark.own_line import OwnLine, own_line
from tokenwire.benchmark.process_usage import CpuWatch
from tokenwire.benchmark.quantiles import spread_of
from tokenwire.benchmark.report import CLIENT, OTHERS, Circumstances, LevelFigures, PathFigures, Report
from tokenwire.benchmark.stream_path import StreamPath
from tokenwire.benchmark.wave import Wave, run_wave

__all__ = ["run_benchmark"]

BUNCHED_SHARE: Final = 0.1
CLIENT_PERCENT_MAX: Final = 70.0
OTHERS_PERCENT_MAX: Final = 20.0
FOREIGN: Final = {CLIENT, OTHERS}
FAULTS_SHOWN_MAX: Final = 5
GIBIBYTE: Final = 1024**3
LIBRARIES: Final = ("tokenwire", "aiokafka", "faust-streaming", "openai", "websockets", "uvloop", "msgspec")

Say = Callable[[str], None]


async def run_benchmark(method: Method, home: Path, say: Say) -> Report:
    """Measure. `home`: whose jars are used, absolute; `say`: is told how far it has come.

    Raises LineNotStarted, LineRefused.

    Cancellation: the line is stopped and its folder removed.
    """
    load_average, started_s = os.getloadavg()[0], time.perf_counter()
    say(f"starting a line to measure; the waves will take about {method.seconds():.0f} s")
    async with AsyncExitStack() as stack:
        line = await stack.enter_async_context(own_line(home, method.layout))
        direct = await stack.enter_async_context(DirectPath.opened(line.line.provider, line.line.model, method))
        waves = await run_waves((direct, LinePath(line.websocket, line.token_for)), line, method, say)
        say("reading the hop times from ClickHouse")
        turns = {answer.turn for wave in waves for answer in wave.answers if answer.turn}
        rows = await read_hop_rows(line.line.analytics, reader_token(line.settings.home), turns)
    circumstances = Circumstances(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(time.perf_counter() - started_s, 1),
        cores=os.cpu_count() or 0,
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIBIBYTE, 1),
        platform=platform.platform(),
        load_average=round(load_average, 2),
        versions={"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
    )
    return report_of(method, waves, rows, circumstances)


async def run_waves(paths: Sequence[StreamPath], line: OwnLine, method: Method, say: Say) -> list[Wave]:
    watch = CpuWatch(line.pid)
    for path in paths:
        answers = method.warm_up if path.name == THROUGH else 1
        say(f"warm-up, {path.name}")
        warm_up = msgspec.structs.replace(method, answers=answers)
        await run_wave(path, method.warm_up_streams, method=warm_up, round_number=0, watch=watch)
    waves: list[Wave] = []
    for number in range(1, method.rounds + 1):
        for streams in method.streams:
            for path in paths if number % 2 else reversed(paths):
                gc.collect()  # of the wave before, and not in the middle of this one
                wave = await run_wave(path, streams, method=method, round_number=number, watch=watch)
                waves.append(wave)
                say(told(wave, method))
    return waves


def told(wave: Wave, method: Method) -> str:
    ttft = spread_of([answer.ttft_ms for answer in wave.answers])
    wrong = sum(bool(answer.fault) for answer in wave.answers)
    return (
        f"round {wave.round} of {method.rounds}, {wave.streams} streams, {wave.path}: {len(wave.answers)} answers, "
        f"first text after {ttft.p50 if ttft else 0:.1f} ms" + (f", {wrong} WRONG" if wrong else "")
    )


def report_of(
    method: Method, waves: Sequence[Wave], rows: Mapping[str, HopRow], circumstances: Circumstances
) -> Report:
    levels = tuple(level_of(streams, waves, rows, method) for streams in method.streams)
    faults = [
        f"{wave.path}, {wave.streams} streams: {answer.fault}"
        for wave in waves
        for answer in wave.answers
        if answer.fault
    ]
    turns = {answer.turn for wave in waves for answer in wave.answers if answer.turn}
    warnings = [sentence for level in levels for sentence in warnings_of(level)]
    if missing := len(turns - rows.keys()):
        warnings.append(f"the hop times of {missing} answers did not reach ClickHouse in time")
    return Report(
        circumstances=circumstances,
        method=method,
        levels=levels,
        faults=tuple(faults[:FAULTS_SHOWN_MAX]),
        warnings=tuple(warnings),
    )


def level_of(streams: int, waves: Sequence[Wave], rows: Mapping[str, HopRow], method: Method) -> LevelFigures:
    own = {name: [wave for wave in waves if (wave.streams, wave.path) == (streams, name)] for name in (DIRECT, THROUGH)}
    direct, through = (figures_of_path(own[name], method) for name in (DIRECT, THROUGH))
    slow, fast = through.ttft_ms, direct.ttft_ms
    return LevelFigures(
        streams=streams,
        direct=direct,
        through=through,
        added_p50_ms=round(slow.p50 - fast.p50, 3) if slow and fast else 0.0,
        added_p99_ms=round(slow.p99 - fast.p99, 3) if slow and fast else 0.0,
        hops_ms=hops_of([answer for wave in own[THROUGH] for answer in wave.answers], rows),
    )


def figures_of_path(waves: Sequence[Wave], method: Method) -> PathFigures:
    """All rounds together. Wrong answers count as wrong and for nothing else."""
    answers = [answer for wave in waves for answer in wave.answers]
    good = [answer for answer in answers if not answer.fault]
    gaps_ms = [gap_ms for answer in good for gap_ms in answer.gaps_ms]
    bunched = sum(gap_ms < BUNCHED_SHARE * method.pace_ms for gap_ms in gaps_ms)
    seconds = sum(wave.seconds for wave in waves)
    cpu_s: dict[str, float] = {}
    for cpu in (wave.cpu for wave in waves):
        for name, used_s in cpu.cpu_s.items():
            cpu_s[name] = cpu_s.get(name, 0.0) + used_s
    watched_s = sum(wave.cpu.seconds for wave in waves)
    tokens = sum(len(answer.arrivals_s) for answer in good)
    return PathFigures(
        answers=len(answers),
        wrong=len(answers) - len(good),
        ttft_ms=spread_of([answer.ttft_ms for answer in good]),
        gap_ms=spread_of(gaps_ms),
        bunched_percent=round(100 * bunched / len(gaps_ms), 2) if gaps_ms else 0.0,
        tokens_per_s=round(tokens / seconds, 1) if seconds else 0.0,
        cpu_percent={name: round(100 * used_s / watched_s, 1) for name, used_s in cpu_s.items()} if watched_s else {},
        cpu_us_per_token=round(1e6 * sum(cpu_s[name] for name in cpu_s.keys() - FOREIGN) / tokens, 1)
        if tokens
        else 0.0,
    )


def warnings_of(level: LevelFigures) -> list[str]:
    found = []
    for name, path in ((DIRECT, level.direct), (THROUGH, level.through)):
        if (percent := path.cpu_percent.get(CLIENT, 0.0)) > CLIENT_PERCENT_MAX:
            found.append(f"{level.streams} streams, {name}: the clients themselves took {percent:.0f} % of a core")
        if (percent := path.cpu_percent.get(OTHERS, 0.0)) > OTHERS_PERCENT_MAX:
            found.append(f"{level.streams} streams, {name}: other programs took {percent:.0f} % of a core")
    return found
