"""CPU time of the line's processes, of this one, and of everything else on the machine, from /proc.

Where there is no /proc only this process's own time is known.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tokenwire.benchmark.report import CLIENT, OTHERS

__all__ = ["CpuSpent", "CpuWatch", "process_ids"]

MACHINE: Final = "machine"
PROC: Final = Path("/proc")
OWN_COMMAND: Final = "tokenwire"
BROKER_CLASS: Final = "kafka.Kafka"


@dataclass(frozen=True, slots=True)
class CpuSpent:
    """CPU seconds by process over some time."""

    seconds: float
    cpu_s: Mapping[str, float] = field(default_factory=dict)


class CpuWatch:
    """Compares the clocks of a line's processes at two moments. `pid`: the supervisor of the line."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._ticks_per_s = os.sysconf("SC_CLK_TCK")
        self.started_s = time.perf_counter()
        self.before: dict[str, float] = {}

    def begin(self) -> None:
        """From now on."""
        self.before, self.started_s = self.clocks(), time.perf_counter()

    def spent(self) -> CpuSpent:
        """Since `begin`."""
        now = self.clocks()
        used = {name: now[name] - before for name, before in self.before.items() if name in now}
        machine_s = used.pop(MACHINE, None)
        if machine_s is not None:
            used[OTHERS] = max(0.0, machine_s - sum(used.values()))
        return CpuSpent(time.perf_counter() - self.started_s, used)

    def clocks(self) -> dict[str, float]:
        """CPU seconds since each process began, and the whole machine's."""
        found: defaultdict[str, float] = defaultdict(float)
        found[CLIENT] = time.process_time()
        if not PROC.joinpath("stat").exists():
            return found
        for pid in (self.pid, *descendants(self.pid)):
            name = name_of(pid)
            if name:
                found[name] += busy_ticks(pid) / self._ticks_per_s
        found[MACHINE] = machine_busy_ticks() / self._ticks_per_s
        return found


def process_ids(pid: int) -> dict[str, int]:
    """The processes of a line by name; of several of one name, one. `pid`: the supervisor of the line."""
    return {name: each for each in descendants(pid) if (name := name_of(each))}


def descendants(pid: int) -> Iterator[int]:
    for task in PROC.joinpath(str(pid), "task").glob("*/children"):
        try:
            children = [int(child) for child in task.read_text().split()]
        except OSError:
            continue
        for child in children:
            yield child
            yield from descendants(child)


def name_of(pid: int) -> str:
    """`worker`, `gateway`, `kafka` …; empty for a process that has just gone."""
    try:
        words = PROC.joinpath(str(pid), "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return ""
    if BROKER_CLASS in words:
        return "kafka"
    place = words.index(OWN_COMMAND) + 1 if OWN_COMMAND in words else len(words)
    return {"up": "supervisor"}.get(words[place], words[place]) if place < len(words) else ""


def busy_ticks(pid: int) -> int:
    """User and system time of a process; 0 if it has gone."""
    try:
        after_name = PROC.joinpath(str(pid), "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(after_name[11]) + int(after_name[12])


def machine_busy_ticks() -> int:
    """Of all cores: user, nice, system, interrupts; neither idle nor waiting nor stolen by a neighbour machine."""
    user, nice, system, _, _, irq, softirq = (
        int(word) for word in PROC.joinpath("stat").read_text().split("\n", 1)[0].split()[1:8]
    )
    return user + nice + system + irq + softirq
