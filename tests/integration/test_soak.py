"""`make soak` in seconds: the machinery works. Growth is not judged here: a line that has just begun grows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.integration.broker_fixture import QUICK_JAVA, lend_jars

__all__: list[str] = []

ROOT: Final = Path(__file__).resolve().parents[2]
RUN_S_MAX: Final = 150.0
SHORT: Final = ("--clients", "10", "--tokens", "20", "--minute-s", "2", "--every-s", "0.5", "--growth-max", "10000")


def test_short_soak_answers_everything_and_prints_how_memory_grows(tmp_path: Path) -> None:
    """Every answer whole and once, a tenth of the clients slow, both processes looked at, a line each minute."""
    lend_jars(tmp_path)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("TOKENWIRE_", "OPENAI_"))}
    told = subprocess.run(
        [sys.executable, "-P", "-m", "benchmarks.soak", "--json", *SHORT],
        env=clean
        | QUICK_JAVA
        | {"TOKENWIRE_HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path), "SOAK_S": "5"},
        capture_output=True,
        text=True,
        timeout=RUN_S_MAX,
    )

    assert told.returncode == 0, told.stderr + told.stdout
    *lines, last = told.stdout.splitlines()
    seen = json.loads(last)
    assert seen["plan"]["seconds"] == 5
    assert {kind: of["clients"] for kind, of in seen["tally"].items()} == {"normal": 9, "slow": 1}
    for of in seen["tally"].values():
        assert of["answers"] > 0
        assert of["tokens"] == 20 * of["answers"]
        assert not of["incomplete"] + of["hole_tokens"] + of["duplicate_tokens"] + of["cut_off"]
    assert set(seen["growth_mb_per_min"]) == {"gateway", "worker"}
    assert re.search(r"min  gateway [\d.]+ MiB, [+-][\d.]+ MB/min; worker [\d.]+ MiB, [+-][\d.]+ MB/min", lines[0])
    assert lines[-1] == "growth: less than 10000 MB/min"
