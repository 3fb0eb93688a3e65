"""What a run brings: figures per level of concurrency, and everything needed to judge them later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from tokenwire.benchmark.method import Method
from tokenwire.benchmark.quantiles import Spread

__all__ = ["CLIENT", "FORMAT", "OTHERS", "Circumstances", "LevelFigures", "PathFigures", "Report", "figures_of"]

FORMAT: Final = 1
CLIENT: Final = "client"
"""The process that measures, in `cpu_percent`."""
OTHERS: Final = "others"
"""Everything on the machine that is neither the line nor that process."""


class PathFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One path at one level, all rounds together."""

    answers: int
    wrong: int
    """Answers that failed or differ from what the model must say."""
    ttft_ms: Spread | None
    """From sending the prompt to the first text."""
    gap_ms: Spread | None
    """Between neighbouring chunks; chunks that arrive together have gaps of 0."""
    bunched_percent: float
    """Chunks that came less than a tenth of the pace after the one before."""
    tokens_per_s: float
    """Of all streams together, pauses included."""
    cpu_percent: Mapping[str, float]
    """Of one core, by process, while this path's waves ran."""
    cpu_us_per_token: float = 0.0
    """CPU time of the line's processes together; moves less with the machine's other load than any latency."""


class LevelFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Both paths at one level."""

    streams: int
    direct: PathFigures
    through: PathFigures
    added_p50_ms: float
    """Difference of the times to first text."""
    added_p99_ms: float
    hops_ms: Mapping[str, Spread] = {}
    """Where the time to first text goes on the way through the line."""


class Circumstances(msgspec.Struct, frozen=True, kw_only=True):
    """When and on what."""

    at: str
    """UTC, ISO 8601."""
    seconds: float
    cores: int
    memory_gib: float
    platform: str
    load_average: float
    """Of the minute before the run."""
    versions: Mapping[str, str]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run."""

    format: int = FORMAT
    circumstances: Circumstances
    method: Method
    levels: tuple[LevelFigures, ...]
    faults: tuple[str, ...] = ()
    """What was wrong with the first few wrong answers."""
    warnings: tuple[str, ...] = ()
    """Why the figures may mean less than they seem to."""

    @property
    def wrong(self) -> int:
        """Wrong answers on both paths."""
        return sum(level.direct.wrong + level.through.wrong for level in self.levels)


def figures_of(report: Report) -> Iterator[tuple[str, float]]:
    """Every figure that runs are compared by, named `64 streams, through, ttft p50 ms`."""
    for level in report.levels:
        for name, path in (("direct", level.direct), ("through", level.through)):
            prefix = f"{level.streams} streams, {name}"
            for measure, spread in (("ttft", path.ttft_ms), ("gap", path.gap_ms)):
                if spread is not None:
                    yield f"{prefix}, {measure} p50 ms", spread.p50
                    yield f"{prefix}, {measure} p99 ms", spread.p99
            yield f"{prefix}, tokens per s", path.tokens_per_s
            yield f"{prefix}, bunched percent", path.bunched_percent
            if path.cpu_us_per_token:
                yield f"{prefix}, CPU us per token", path.cpu_us_per_token
        yield f"{level.streams} streams, added, ttft p50 ms", level.added_p50_ms
        yield f"{level.streams} streams, added, ttft p99 ms", level.added_p99_ms
