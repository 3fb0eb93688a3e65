"""What counts as a regression, and what is noise.

Covers: tokenwire.benchmark.report.
"""

from __future__ import annotations

import msgspec
import pytest

from tests.unit.tokenwire.benchmark.bench_reports import level, path, report
from tokenwire.benchmark.comparison import ComparedFigure, band_of, compare_reports, differences_of_method
from tokenwire.benchmark.report import Report, figures_of

__all__: list[str] = []

OLD = report(level(64, path(2.0), path(20.0)))


def compared(new: Report, name: str) -> ComparedFigure:
    return next(figure for figure in compare_reports(OLD, new) if figure.name == name)


def test_same_run_has_not_changed() -> None:
    """Every figure of a run compared with itself has ratio 1; nothing regressed or improved."""
    figures = compare_reports(OLD, OLD)

    assert len(figures) == len(list(figures_of(OLD)))
    assert {figure.ratio for figure in figures} == {1.0}
    assert not any(figure.regressed or figure.improved for figure in figures)


@pytest.mark.parametrize(
    ("ttft_ms", "regressed", "improved"), [(23.9, False, False), (24.1, True, False), (15.9, False, True)]
)
def test_latency_beyond_a_fifth(ttft_ms: float, regressed: bool, improved: bool) -> None:
    """The middle of 20 ms may move by 20 %; beyond that it is worse or better."""
    figure = compared(report(level(64, path(2.0), path(ttft_ms))), "64 streams, through, ttft p50 ms")

    assert (figure.regressed, figure.improved) == (regressed, improved)


def test_small_figure_doubles_by_chance() -> None:
    """1 ms more is no regression, whatever its share."""
    old, new = report(level(1, path(0.1), path(1.0))), report(level(1, path(0.1), path(2.0)))

    assert not any(figure.regressed for figure in compare_reports(old, new))


def test_fewer_tokens_per_second_are_worse() -> None:
    """Where more is better a fall is the regression, a rise the improvement."""
    name = "64 streams, through, tokens per s"
    fallen = compared(report(level(64, path(2.0), path(20.0, tokens_per_s=1_800.0))), name)
    risen = compared(report(level(64, path(2.0), path(20.0, tokens_per_s=2_200.0))), name)

    assert (fallen.regressed, fallen.improved) == (True, False)
    assert (risen.regressed, risen.improved) == (False, True)


def test_direct_path_is_not_judged() -> None:
    """A slower machine shows in the direct figures, which are told and never called a regression."""
    figures = compare_reports(OLD, report(level(64, path(200.0), path(20.0))))

    assert not any(figure.regressed for figure in figures if ", direct, " in figure.name)
    assert band_of("64 streams, direct, ttft p50 ms") is None


def test_figure_that_was_nought_has_no_ratio() -> None:
    """Added latency can be 0 or less: no ratio is made of it, the difference still counts."""
    old, new = report(level(1, path(2.0), path(2.0))), report(level(1, path(2.0), path(30.0)))
    added = next(figure for figure in compare_reports(old, new) if "added, ttft p50" in figure.name)

    assert added.ratio is None
    assert added.regressed


def test_levels_of_one_run_only_are_left_out_and_told() -> None:
    """Only what both measured is compared; what differs in the method is said."""
    new = report(level(64, path(2.0), path(20.0)), level(128, path(2.0), path(40.0)), tokens=32)

    assert {figure.name.split(" ")[0] for figure in compare_reports(OLD, new)} == {"64"}
    assert differences_of_method(OLD, new) == ["tokens: 64 then, 32 now", "streams in one run only: 128"]


def test_deltas_that_bunch() -> None:
    """Bunching is a regression of its own; the middle gap, which it makes smaller, is not judged."""
    figure = compared(report(level(64, path(2.0), path(20.0, bunched=30.0))), "64 streams, through, bunched percent")

    assert figure.regressed
    assert band_of("64 streams, through, gap p50 ms") is None


def test_busy_machine_is_told() -> None:
    """Other programs that took more than before may be what regressed: the reader hears of them."""
    new = report(level(64, path(2.0), path(40.0, others=80.0)))

    assert differences_of_method(OLD, new) == ["other programs at 64 streams: 5 % of a core then, 80 % now"]


def test_saved_report_is_read_back() -> None:
    """What --save writes is what --compare reads."""
    assert msgspec.json.decode(msgspec.json.encode(OLD), type=Report) == OLD
