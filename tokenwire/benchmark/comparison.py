"""Which figures of a new run are worse than those of an old one by more than runs differ anyway.

A figure regressed when it is worse by more than its noise band: a share of the old value, and at least some
milliseconds, since a small figure doubles by chance. Figures of the direct path have no band: they say how the
machine has changed, not the line. The bands are wide because two runs of the same build on two shared cores differ
that much (`docs/benchmarks.md`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tokenwire.benchmark.report import OTHERS, Report, figures_of

__all__ = ["BANDS", "Band", "ComparedFigure", "band_of", "compare_reports", "differences_of_method"]


@dataclass(frozen=True, slots=True)
class Band:
    """What counts as noise: both must be exceeded."""

    share: float
    least: float
    """In the figure's own unit."""
    higher_is_better: bool = False


BANDS: Final = {
    "ttft p50 ms": Band(0.20, 2.0),
    "ttft p99 ms": Band(0.50, 10.0),
    "gap p99 ms": Band(0.50, 10.0),
    "bunched percent": Band(0.50, 5.0),
    "CPU us per token": Band(0.20, 20.0),
    "tokens per s": Band(0.05, 1.0, higher_is_better=True),
}
"""By the end of a figure's name. The middle gap is not judged: deltas that bunch make it smaller."""

UNJUDGED: Final = "direct"
OTHERS_PERCENT_MAX: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedFigure:
    """One figure, then and now."""

    name: str
    old: float
    new: float
    ratio: float | None
    """New by old; None where the old one is not above 0."""
    regressed: bool
    improved: bool


def compare_reports(old: Report, new: Report) -> list[ComparedFigure]:
    """Figures that both have, in the new one's order."""
    before = dict(figures_of(old))
    return [compared(name, before[name], value) for name, value in figures_of(new) if name in before]


def differences_of_method(old: Report, new: Report) -> list[str]:
    """What makes the two runs hard to compare, a sentence each."""
    found = [
        f"{name}: {then} then, {now} now"
        for name, then, now in (
            ("cores", old.circumstances.cores, new.circumstances.cores),
            ("tokens", old.method.tokens, new.method.tokens),
            ("pace_ms", old.method.pace_ms, new.method.pace_ms),
            ("pause_ms", old.method.pause_ms, new.method.pause_ms),
            ("layout", old.method.layout, new.method.layout),
        )
        if then != now
    ]
    levels = {level.streams for level in old.levels} ^ {level.streams for level in new.levels}
    if levels:
        found.append(f"streams in one run only: {', '.join(map(str, sorted(levels)))}")
    return found + differences_of_load(old, new)


def band_of(name: str) -> Band | None:
    """What is noise for a figure; None: it is not judged."""
    _, path, measure = name.split(", ")
    return None if path == UNJUDGED else BANDS.get(measure)


def differences_of_load(old: Report, new: Report) -> list[str]:
    """Where other programs took clearly more or less of the machine: a regression may be theirs."""
    before, found = cpu_of_others(old), []
    for streams, now in cpu_of_others(new).items():
        then = before.get(streams)
        if then is not None and abs(now - then) > OTHERS_PERCENT_MAX:
            found.append(f"other programs at {streams} streams: {then:.0f} % of a core then, {now:.0f} % now")
    return found


def cpu_of_others(report: Report) -> dict[int, float]:
    """What other programs took, in percent of a core, by the number of streams."""
    paths = ((level.streams, level.through) for level in report.levels)
    return {streams: path.cpu_percent.get(OTHERS, 0.0) for streams, path in paths}


def compared(name: str, old: float, new: float) -> ComparedFigure:
    band = band_of(name)
    worse = better = False
    if band is not None:
        difference = old - new if band.higher_is_better else new - old
        margin = max(band.share * abs(old), band.least)
        worse, better = difference > margin, -difference > margin
    return ComparedFigure(
        name=name, old=old, new=new, ratio=new / old if old > 0 else None, regressed=worse, improved=better
    )
