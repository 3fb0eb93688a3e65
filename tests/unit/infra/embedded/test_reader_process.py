"""What the confined readers' process can still read, seen from inside: a child, since it can't have its rights back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from infra.confinement import landlock_version

__all__: list[str] = []

WITHIN = """
import os, sys
from pathlib import Path
from infra.embedded.reader_process import confine_reader

home = Path(sys.argv[1])
confine_reader(home, str(home / "store"))
assert len(Path("/proc/self/auxv").read_bytes()) >= 16
try:
    Path("/proc/self/environ").read_bytes()
except PermissionError:
    print("closed")
"""


@pytest.mark.skipif(landlock_version() == 0, reason="this system has no Landlock")
def test_engine_finds_what_the_kernel_handed_its_process(tmp_path: Path) -> None:
    """Where it can't, it takes what lies behind the environment for it, and dies while it is loaded, now and then."""
    for folder in ("reader", "store", "clickhouse-config"):
        (tmp_path / folder).mkdir()
    said = subprocess.run(
        [sys.executable, "-c", WITHIN, str(tmp_path)], capture_output=True, text=True, check=False, timeout=60
    )

    assert (said.stdout, said.returncode) == ("closed\n", 0), said.stderr
