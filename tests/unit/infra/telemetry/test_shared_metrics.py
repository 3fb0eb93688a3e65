"""Metrics of several processes, added up by whichever is asked."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from infra.telemetry.shared_metrics import FOLDER_VARIABLE

__all__: list[str] = []

COUNTS: Final = """
import sys
from infra.telemetry.metric_names import GATEWAY_CONNECTIONS, GATEWAY_FRAMES, GATEWAY_METRICS, GATEWAY_RELAY_SECONDS
from infra.telemetry.metrics import Metrics
metrics = Metrics(GATEWAY_METRICS)
metrics.counter(GATEWAY_FRAMES).labels(direction="in").inc(int(sys.argv[1]))
metrics.gauge(GATEWAY_CONNECTIONS).set(int(sys.argv[1]))
metrics.histogram(GATEWAY_RELAY_SECONDS).observe(0.001)
print("counted", flush=True)
sys.stdin.readline()
sys.stdout.buffer.write(metrics.exposition())
"""


def test_what_lives_and_what_has_ended(tmp_path: Path) -> None:
    """Counters and histograms of all that ever ran, gauges and memory of those that live."""
    environment = os.environ | {FOLDER_VARIABLE: str(tmp_path)}

    def started(amount: int) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", COUNTS, str(amount)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "counted\n"
        return process

    first, second, third = started(1), started(20), started(300)
    first.kill()
    first.communicate(timeout=20)
    told, _ = second.communicate("\n", timeout=20)
    third.kill()
    third.communicate(timeout=20)
    seen = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(told)
        for sample in family.samples
    }

    assert seen["tokenwire_gateway_frames_total", "in"] == 321
    assert seen["tokenwire_gateway_connections",] == 320
    assert seen["tokenwire_gateway_relay_seconds_count",] == 3
    assert seen["process_resident_memory_bytes",] > 2 * 20_000_000
    assert "process_start_time_seconds" not in {name for name, *_ in seen}
