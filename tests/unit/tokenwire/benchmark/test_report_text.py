"""The report in words."""

from __future__ import annotations

import msgspec

from tests.unit.tokenwire.benchmark.bench_reports import level, path, report
from tokenwire.benchmark.comparison import compare_reports
from tokenwire.benchmark.report_text import comparison_text, report_text

__all__: list[str] = []


def test_report_tells_everything_that_went_wrong() -> None:
    """Figures of both paths, hops, warnings, and wrong answers where they are seen."""
    found = report(level(64, path(2.0), path(20.0, wrong=3)))
    text = report_text(msgspec.structs.replace(found, warnings=("the clients were slow",), faults=("it ended error",)))

    assert "100 (3 wrong)" in text
    assert "18.0" in text
    assert "sent → dequeued" in text
    assert "Warning: the clients were slow." in text
    assert "Wrong answer: it ended error" in text


def test_comparison_names_what_regressed_and_the_bands() -> None:
    """The last line is the verdict."""
    old, new = report(level(64, path(2.0), path(20.0))), report(level(64, path(2.0), path(80.0)))
    text = comparison_text(compare_reports(old, new), ["tokens: 64 then, 32 now"])

    assert "Not measured alike: tokens: 64 then, 32 now." in text
    assert "20%" in text
    assert text.splitlines()[-1].startswith("Regressed: 64 streams, through, ttft p50 ms;")
    assert comparison_text(compare_reports(old, old), []).endswith("Nothing regressed beyond the noise.")
