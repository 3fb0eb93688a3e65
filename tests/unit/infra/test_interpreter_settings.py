"""What a long-running process asks of its interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

from infra.interpreter_settings import RETURNING_ALLOCATOR

__all__: list[str] = []

RUSH: Final = """
import os, resource
from infra.interpreter_settings import give_back

def resident_mib():
    with open("/proc/self/statm") as told:
        return int(told.read().split()[1]) * resource.getpagesize() / 2**20

before = resident_mib()
rush = [[bytes(200), index] for index in range(400_000)]
kept = rush[::10_000]  # what stays lies among what goes
full = resident_mib() - before
del rush
give_back()
assert full > 100, full
assert resident_mib() - before < full / 4, (full, resident_mib() - before)
"""
SCRIPT: Final = """
import gc, sys
from infra.interpreter_settings import SWITCH_S, settle_interpreter
made_at_start = [[] for _ in range(1_000)]
settle_interpreter()
assert gc.get_freeze_count() > 1_000
assert gc.isenabled()
assert abs(sys.getswitchinterval() - SWITCH_S) < 1e-9
"""

YOUNG: Final = """
import asyncio, gc
from infra.interpreter_settings import YOUNG_S, collect_young, settle_interpreter

settle_interpreter()
kept = [[index] for index in range(30_000)]
gc.collect()
for index in range(len(kept)):
    kept[index] = [index]  # as many go as come, so that Python sees no need to look
young = len(gc.get_objects(0)) + len(gc.get_objects(1))
assert young > 20_000, young

async def main():
    collecting = asyncio.create_task(collect_young())
    await asyncio.sleep(3 * YOUNG_S)
    assert not collecting.done()
    collecting.cancel()

asyncio.run(main())
young = len(gc.get_objects(0)) + len(gc.get_objects(1))
assert young < 5_000, young
"""


NAMES: Final = """
import sys
from infra.interpreter_settings import give_back

names = ["".join(("numer", "ator")) for _ in range(100)]
for name in names:
    getattr(1, name)
before = sum(sys.getrefcount(name) for name in names)
give_back(names=True)
assert sum(sys.getrefcount(name) for name in names) < before, before
"""


def test_names_that_were_looked_up_are_let_go_of() -> None:
    """Python's cache of attributes holds them, each where it was made."""
    told = subprocess.run(
        [sys.executable, "-W", "error", "-c", NAMES], capture_output=True, text=True, timeout=20, check=False
    )

    assert told.returncode == 0, told.stderr


def test_young_objects_never_become_many() -> None:
    """Where old ones go as new ones come too; that is what ten thousand connections that are pinged do."""
    told = subprocess.run(
        [sys.executable, "-W", "error", "-c", YOUNG], capture_output=True, text=True, timeout=20, check=False
    )

    assert told.returncode == 0, told.stderr


def test_process_that_has_started() -> None:
    """What its start made is left alone from then on, what comes later is collected, threads wait less."""
    told = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT], capture_output=True, text=True, timeout=20, check=False
    )

    assert told.returncode == 0, told.stderr


def test_memory_of_a_rush_is_given_back() -> None:
    """With the allocator that gateways are started with, what stays does not hold on to what lay around it."""
    told = subprocess.run(
        [sys.executable, "-W", "error", "-c", RUSH],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env=os.environ | RETURNING_ALLOCATOR,
    )

    assert told.returncode == 0, told.stderr
