"""A report as people read it: tables of fixed width."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tokenwire.benchmark.comparison import BANDS, ComparedFigure
from tokenwire.benchmark.quantiles import Spread
from tokenwire.benchmark.report import LevelFigures, Report

__all__ = ["comparison_text", "report_text"]


def report_text(report: Report) -> str:
    """Everything worth reading of one run."""
    found, method = report.circumstances, report.method
    parts = [
        f"Answers of {method.tokens} deltas at {method.pace_ms} ms, {method.rounds} rounds, {method.layout} session "
        f"logs; {found.cores} cores, load {found.load_average} before the run, {found.at}.",
        table(latency_rows(report)),
        "Where the time to first text goes on the way through, p50 / p99 ms (the part in brackets runs beside):",
        table(hop_rows(report.levels)),
        "CPU in % of one core while the prompts went through the line:",
        table(cpu_rows(report.levels)),
    ]
    parts += [f"Warning: {sentence}." for sentence in report.warnings]
    parts += [f"Wrong answer: {sentence}" for sentence in report.faults]
    return "\n\n".join(part for part in parts if part)


def comparison_text(compared: Sequence[ComparedFigure], differences: Sequence[str]) -> str:
    """Old beside new, and what regressed."""
    rows = [("figure", "old", "new", "new/old", "")]
    for figure in compared:
        ratio = "–" if figure.ratio is None else f"{figure.ratio:.2f}"
        mark = "REGRESSED" if figure.regressed else "better" if figure.improved else ""
        rows.append((figure.name, f"{figure.old:.1f}", f"{figure.new:.1f}", ratio, mark))
    bands = "; ".join(f"{name} {band.share:.0%} and {band.least:g}" for name, band in BANDS.items())
    regressed = [figure.name for figure in compared if figure.regressed]
    verdict = f"Regressed: {'; '.join(regressed)}." if regressed else "Nothing regressed beyond the noise."
    notes = [f"Not measured alike: {sentence}." for sentence in differences]
    return "\n\n".join([table(rows), *notes, f"Noise band (both must be exceeded): {bands}.", verdict])


def latency_rows(report: Report) -> Iterable[tuple[str, ...]]:
    yield (
        "streams",
        "path",
        "answers",
        "TTFT p50",
        "p99",
        "added p50",
        "p99",
        "gap p50",
        "p99",
        "bunched",
        "tokens/s",
        "CPU/token",
    )
    for level in report.levels:
        for name, path in (("direct", level.direct), ("through", level.through)):
            added = (f"{level.added_p50_ms:.1f}", f"{level.added_p99_ms:.1f}") if name == "through" else ("", "")
            yield (
                str(level.streams),
                name,
                f"{path.answers}" + (f" ({path.wrong} wrong)" if path.wrong else ""),
                *pair(path.ttft_ms),
                *added,
                *pair(path.gap_ms),
                f"{path.bunched_percent:.1f} %",
                f"{path.tokens_per_s:.0f}",
                f"{path.cpu_us_per_token:.0f} µs",
            )


def hop_rows(levels: Sequence[LevelFigures]) -> Iterable[tuple[str, ...]]:
    names = list(dict.fromkeys(name for level in levels for name in level.hops_ms))
    if not names:
        return
    yield ("streams", *names)
    for level in levels:
        yield (str(level.streams), *(" / ".join(pair(level.hops_ms.get(name))) for name in names))


def cpu_rows(levels: Sequence[LevelFigures]) -> Iterable[tuple[str, ...]]:
    names = list(dict.fromkeys(name for level in levels for name in level.through.cpu_percent))
    yield ("streams", *names)
    for level in levels:
        through = level.through
        yield (str(level.streams), *(f"{through.cpu_percent.get(name, 0.0):.0f}" for name in names))


def pair(spread: Spread | None) -> tuple[str, str]:
    return ("–", "–") if spread is None else (f"{spread.p50:.1f}", f"{spread.p99:.1f}")


def table(rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; figures to the right."""
    lines = [tuple(row) for row in rows]
    if not lines:
        return ""
    widths = [max(len(row[place]) for row in lines) for place in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in lines
    )
