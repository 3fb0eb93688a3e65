"""What a long-running process asks of its interpreter."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

__all__: list[str] = []

SCRIPT: Final = """
import gc, sys
from infra.interpreter_settings import SWITCH_S, settle_interpreter
made_at_start = [[] for _ in range(1_000)]
settle_interpreter()
assert gc.get_freeze_count() > 1_000
assert gc.isenabled()
assert abs(sys.getswitchinterval() - SWITCH_S) < 1e-9
"""


def test_process_that_has_started() -> None:
    """What its start made is left alone from then on, what comes later is collected, threads wait less."""
    told = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=20, check=False)

    assert told.returncode == 0, told.stderr
