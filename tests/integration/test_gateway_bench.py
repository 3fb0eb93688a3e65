"""`make bench-gateway` in its smallest form: every scenario runs, nobody loses anything, every figure is printed.

No time is judged: machines differ. The scenarios run side by side on the session's broker.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from infra.embedded.broker import EmbeddedBroker

__all__: list[str] = []

ROOT: Final = Path(__file__).resolve().parents[2]
RUN_S_MAX: Final = 150.0
QUICK: Final = ("--warm-up-s", "0", "--after-leaving-s", "0.5", "--settle-s", "0.2", "--client-processes", "1")
SMALL: Final = ("--clients", "24", "--streaming", "12", "--records-per-s", "120", "--seconds", "2")
SCENARIOS: Final[dict[str, tuple[str, ...]]] = {
    "steady": (*SMALL, "--find-highest", "--warm-up-s", "0.3"),
    "everyone": ("--clients", "30", "--seconds", "2"),
    "slow": (*SMALL, "--still", "6", "--slow", "6", "--pairs", "1", "--hold-s", "0", "--token-bytes", "60"),
    "storm": ("--clients", "24", "--records-per-s", "60", "--seconds", "4", "--over-s", "1"),
    "idle": ("--clients", "24", "--seconds", "2", "--growth-max", "10000"),
    "plain": (*SMALL, "--still", "4", "--cut", "4", "--rounds", "1", "--search-seconds", "0"),
}
WAVE_ROWS: Final = (
    r"records +[\d,]+ of \d+ tokens at [\d,]+/s",
    r"lost +0 of [1-9][\d,]* tokens, 0 of [1-9][\d,]* records",
    r"faults +0 tokens in holes, 0 twice, 0 wrong texts",
    r"relay, ms +[\d.,]+ / [\d.,]+ / [\d.,]+ / [\d.,]+ ",
    r"acknowledged, ms +[\d.,]+ / [\d.,]+ ",
    r"gateway +[\d,]+ frames and [\d,]+ tokens per second of CPU",
    r"CPU, % of a core +gateway \d+, writer \d+, clients 1 \d+",
)
MEMORY_ROWS: Final = (
    r"gateway memory +\d+ MiB fresh, \d+ before the clients, \d+ with \d+ connected",
    r"idle connection +-?[\d.]+ KiB resident",
    r"kernel sockets +-?[\d.]+ MiB more of buffers, -?\d+ of objects",
)
AFTER_ROW: Final = r"after all left +\d+ MiB, [\d.]+ × the start"
HIGHEST_ROW: Final = r"highest kept up with +[\d,]+ readers, [\d,]+ records/s"
ROWS: Final[dict[str, tuple[str, ...]]] = {
    "steady": (*MEMORY_ROWS, *WAVE_ROWS, AFTER_ROW, HIGHEST_ROW),
    "everyone": (*MEMORY_ROWS, *WAVE_ROWS, AFTER_ROW, HIGHEST_ROW),
    "slow": (
        *WAVE_ROWS,
        r"p99 ratio +[\d.]+",
        r"unsent +[\d.]+ MiB",
        r"never read, held +6 of 6",
        "KB/s, held +6 of 6",
    ),
    "storm": (*WAVE_ROWS, r"resumed +24 of 24", r"answered +.*(replayed|live)"),
    "idle": (*MEMORY_ROWS, AFTER_ROW, r"growth +[+-][\d.]+ MB/min \(10000 allowed\), 0 clients cut off"),
    "plain": (*MEMORY_ROWS, *WAVE_ROWS, r"cut off +4 of 4", r"plain:"),
}


async def run_scenario(name: str, broker: EmbeddedBroker, home: Path) -> tuple[str, dict[str, Any]]:
    """What it prints for people and for programs. Fails where it ends with another code than 0: then a client did not
    get everything, once."""
    clean = {each: value for each, value in os.environ.items() if not each.startswith("TOKENWIRE_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "benchmarks.gateway", name, "--kafka", broker.bootstrap_servers),
        *(*QUICK, *SCENARIOS[name], "--json"),
        env=clean | {"TOKENWIRE_HOME": str(home), "PYTHONPATH": str(ROOT), "TMPDIR": str(home)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(RUN_S_MAX):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    assert process.returncode == 0, f"{name}: {err.decode()}\n{out.decode()}"
    return err.decode(), json.loads(out)


@pytest.mark.asyncio(loop_scope="session")
async def test_every_scenario_loses_nothing_and_prints_its_figures(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Zero lost, no hole, no duplicate (G4 among them, in small), all figures there, and nothing is left over."""
    told = await asyncio.gather(*(run_scenario(name, broker, tmp_path) for name in SCENARIOS))

    for name, (text, _) in zip(SCENARIOS, told, strict=True):
        for wanted in ROWS[name]:
            assert re.search(wanted, text), f"{name}: no {wanted} in\n{text}"
    steady, storm = told[0][1]["wave"], told[3][1]["wave"]
    assert (steady["tokens"], steady["answers_ended"], storm["answers_ended"]) == (1_200, 12, 24)
    for fault in ("records_lost", "tokens_lost", "hole_tokens", "duplicate_tokens", "wrong_texts"):
        assert steady[fault] == storm[fault] == 0
    assert [entry for entry in os.listdir(tmp_path) if entry.startswith("tokenwire-bench-")] == []
