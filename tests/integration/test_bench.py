"""`tokenwire bench` in its quickest form. What it measures is not judged here: machines differ.

Covers: tokenwire.benchmark.benchmark_run, tokenwire.benchmark.direct_path, tokenwire.benchmark.line_path,
tokenwire.benchmark.own_line, tokenwire.benchmark.wave.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec

from tests.integration.broker_fixture import QUICK_JAVA, lend_jars
from tokenwire.benchmark.report import Report

__all__: list[str] = []

BENCH_S: Final = 120.0
QUICKEST: Final = ("--streams", "1,2", "--rounds", "1", "--answers", "2", "--tokens", "12", "--warm-up", "1")


def test_quickest_run_answers_right_and_cleans_up(tmp_path: Path) -> None:
    """Both paths, two levels, every answer right, the report of the shape that was promised; nothing is left over."""
    home, temporary, saved = tmp_path / "home", tmp_path / "temporary", tmp_path / "report.json"
    temporary.mkdir()
    lend_jars(home)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("TOKENWIRE_", "OPENAI_"))}
    told = subprocess.run(
        [sys.executable, "-P", "-m", "tokenwire", "bench", "--json", "--save", str(saved), *QUICKEST],
        cwd=tmp_path,
        env=clean | QUICK_JAVA | {"TOKENWIRE_HOME": str(home), "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=BENCH_S,
    )

    assert told.returncode == 0, told.stderr
    report = msgspec.convert(json.loads(told.stdout), Report)
    assert msgspec.json.decode(saved.read_bytes(), type=Report) == report
    assert report.wrong == 0
    assert report.faults == ()
    assert [level.streams for level in report.levels] == [1, 2]
    for level in report.levels:
        for path in (level.direct, level.through):
            answers = 2 * level.streams
            assert (path.answers, path.wrong) == (answers, 0)
            assert path.ttft_ms is not None
            assert path.gap_ms is not None
            assert (path.ttft_ms.samples, path.gap_ms.samples) == (answers, answers * 11)
            assert path.tokens_per_s > 0
        assert {spread.samples for spread in level.hops_ms.values()} == {2 * level.streams}
        assert len(level.hops_ms) == 5
    assert "round 1 of 1, 2 streams, through" in told.stderr
    kept = {path.name for path in temporary.iterdir()}
    assert kept <= {f"tokenwire-ports-{os.geteuid()}.lock"}, "the one file that is a user's, not a run's"
