"""CPU time from /proc."""

from __future__ import annotations

import os
import sys
import time

import pytest

from tokenwire.benchmark.process_usage import CpuWatch
from tokenwire.benchmark.report import CLIENT, OTHERS

__all__: list[str] = []


def test_own_work_is_the_clients() -> None:
    """Work done here between the two moments is counted here."""
    watch = CpuWatch(os.getpid())
    watch.begin()
    until_s = time.process_time() + 0.1
    while time.process_time() < until_s:
        pass
    spent = watch.spent()

    assert spent.cpu_s[CLIENT] >= 0.1
    assert spent.seconds >= 0.1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_process_that_is_not_there_costs_nothing() -> None:
    """A line that has gone is no fault of the watch; what others use is never below nothing."""
    watch = CpuWatch(2**22 + 1)
    watch.begin()
    spent = watch.spent()

    assert set(spent.cpu_s) == {CLIENT, OTHERS}
    assert spent.cpu_s[OTHERS] >= 0
