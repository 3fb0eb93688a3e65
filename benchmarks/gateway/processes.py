"""What processes take: resident memory, CPU time, and the kernel's memory for sockets, from /proc."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

__all__ = ["OTHERS", "CpuClock", "kernel_slab_mib", "kernel_socket_mib", "resident_mib"]

TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
MACHINE: Final = "machine"
OTHERS: Final = "others"
BUSY: Final = (0, 1, 2, 5, 6, 7)
"""Of /proc/stat: user, nice, system, irq, softirq, steal."""


def resident_mib(pid: int) -> float:
    """Memory that a process has in use now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def kernel_socket_mib() -> float:
    """What the kernel holds for all TCP sockets of this machine, both ends of each."""
    for line in Path("/proc/net/sockstat").read_text().splitlines():
        words = line.split()
        if words[0] == "TCP:":
            return int(words[words.index("mem") + 1]) * resource.getpagesize() / 2**20
    return 0.0


def kernel_slab_mib() -> float:
    """What the kernel holds in small objects that it can't give back: everybody's sockets, open files and the like."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("SUnreclaim:"):
            return int(line.split()[1]) / 1_024
    return 0.0


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def machine_cpu_s() -> float:
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    return sum(int(fields[place]) for place in BUSY) / TICKS_PER_S


class CpuClock:
    """CPU time of some processes from now on, by name; several pids under one name are kept apart as `name 1` …"""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self.pids = dict(pids)
        self.began_s = time.perf_counter()
        self.before = self.now()

    def now(self) -> dict[str, float]:
        """CPU seconds so far, the whole machine's among them."""
        return {name: cpu_s(pid) for name, pid in self.pids.items()} | {MACHINE: machine_cpu_s()}

    def spent(self) -> tuple[float, dict[str, float]]:
        """Seconds since the start, and CPU seconds of each process and of all `others` on the machine together."""
        seconds = time.perf_counter() - self.began_s
        now = self.now()
        used = {name: now[name] - before for name, before in self.before.items()}
        machine_s = used.pop(MACHINE)
        used[OTHERS] = max(0.0, machine_s - sum(used.values()))
        return seconds, used
