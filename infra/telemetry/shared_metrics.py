"""Metrics of several processes that share a port, added up: whichever answers `GET /metrics` answers for all.

`prometheus_client` keeps each process's numbers in files of a folder that all are told of (`PROMETHEUS_MULTIPROC_DIR`)
and adds them up: counters and histograms of all that ever ran, gauges of those that live. What it leaves out, what each
process takes, is added up here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

__all__ = ["FOLDER_VARIABLE", "added_up", "metrics_folder"]

FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Read by `prometheus_client` when it is imported: set it in a child's environment."""
OF_PROCESS: Final = re.compile(r"(?P<kind>\w+)_(?P<pid>\d+)\.db")
ADDED: Final = frozenset(
    {
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_cpu_seconds",
        "process_open_fds",
    }
)
"""What can be added up; a start time or a limit cannot."""


def metrics_folder() -> Path | None:
    """Where this process and those beside it keep their numbers; None: it stands alone."""
    folder = os.environ.get(FOLDER_VARIABLE)
    return Path(folder) if folder else None


def added_up(folder: Path) -> bytes:
    """The body of an answer to `GET /metrics` for all processes of the folder."""
    forget_gone(folder)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]  # the library leaves it untyped
    registry.register(ProcessesCollector(sorted(pids_of(folder))))
    return generate_latest(registry)


class ProcessesCollector(Collector):
    """What some processes take together."""

    def __init__(self, pids: Iterable[int]) -> None:
        self._pids = tuple(pids)

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        together: dict[str, Metric] = {}
        for pid in self._pids:
            for metric in ProcessCollector(registry=None, pid=partial(int, pid)).collect():
                if metric.name not in ADDED:
                    continue
                if metric.name not in together:
                    together[metric.name] = metric
                    continue
                mine = together[metric.name].samples
                mine[0] = mine[0]._replace(value=mine[0].value + metric.samples[0].value)
        yield from together.values()


def pids_of(folder: Path) -> set[int]:
    found = (OF_PROCESS.fullmatch(path.name) for path in folder.glob("*.db"))
    return {int(match["pid"]) for match in found if match is not None and lives(int(match["pid"]))}


def forget_gone(folder: Path) -> None:
    """Gauges of processes that have ended say nothing any more; what they counted stays."""
    for path in folder.glob("gauge_live*.db"):
        match = OF_PROCESS.fullmatch(path.name)
        if match is not None and not lives(int(match["pid"])):
            path.unlink(missing_ok=True)


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's by now
        return False
    return True
