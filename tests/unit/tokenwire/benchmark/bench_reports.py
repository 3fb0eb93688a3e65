"""Reports for the tests of what is made of them."""

from __future__ import annotations

from tokenwire.benchmark.method import Method
from tokenwire.benchmark.quantiles import Spread
from tokenwire.benchmark.report import Circumstances, LevelFigures, PathFigures, Report

__all__ = ["level", "path", "report"]


def path(
    ttft_ms: float, *, bunched: float = 1.0, tokens_per_s: float = 2_000.0, wrong: int = 0, others: float = 5.0
) -> PathFigures:
    """A path whose p99 is twice its p50."""
    return PathFigures(
        answers=100,
        wrong=wrong,
        ttft_ms=Spread(p50=ttft_ms, p99=2 * ttft_ms, samples=100),
        gap_ms=Spread(p50=20.0, p99=40.0, samples=6_300),
        bunched_percent=bunched,
        tokens_per_s=tokens_per_s,
        cpu_percent={"worker": 20.0, "others": others},
        cpu_us_per_token=300.0,
    )


def level(streams: int, direct: PathFigures, through: PathFigures) -> LevelFigures:
    """A level; what is added follows."""
    assert direct.ttft_ms is not None
    assert through.ttft_ms is not None
    return LevelFigures(
        streams=streams,
        direct=direct,
        through=through,
        added_p50_ms=through.ttft_ms.p50 - direct.ttft_ms.p50,
        added_p99_ms=through.ttft_ms.p99 - direct.ttft_ms.p99,
        hops_ms={"sent → dequeued": Spread(p50=3.0, p99=6.0, samples=100)},
    )


def report(*levels: LevelFigures, tokens: int = 64) -> Report:
    """A run on a machine of two cores."""
    circumstances = Circumstances(
        at="2026-11-21T12:00:00+00:00",
        seconds=100.0,
        cores=2,
        memory_gib=24.0,
        platform="Linux",
        load_average=0.1,
        versions={"python": "3.11.7"},
    )
    method = Method(streams=tuple(each.streams for each in levels), tokens=tokens)
    return Report(circumstances=circumstances, method=method, levels=levels)
