"""Children die with their owner, stop when asked, and are killed when they do not.

Covers: infra.embedded.child_launcher.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from infra.embedded.child_process import start_child
from tests.integration.process_probe import is_alive, run_script, until, wait_for_line

WAITING_CHILD = "import signal\nprint('up', flush=True)\nwhile True: signal.pause()\n"
STUBBORN_CHILD = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WAITING_CHILD
OWNER = """
import asyncio, sys
from infra.embedded.child_process import start_child

async def main():
    argv = [sys.executable, "-c", sys.argv[1]]
    child = await start_child(argv, life_pipe_always=sys.argv[2] == "pipe")
    print("child", child.pid, flush=True)
    await child.wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("way", ["kernel", "pipe"])
async def test_owner_is_killed(way: str) -> None:
    """The child is gone too, by the kernel's signal as by the portable pipe."""
    if way == "kernel" and not sys.platform.startswith("linux"):
        pytest.skip("the parent-death signal is Linux's")
    owner = await run_script(OWNER, STUBBORN_CHILD, way)
    child_pid = int((await wait_for_line(owner, "child")).split()[1])
    assert is_alive(child_pid)
    owner.kill()
    await owner.wait()

    await until(lambda: not is_alive(child_pid))


async def test_child_ends_by_itself_with_a_pipe(tmp_path: Path) -> None:
    """Its exit code arrives, and the watcher left beside it ends too."""
    script = (
        "import os\nprint(open(f'/proc/self/task/{os.getpid()}/children').read(), flush=True)\nraise SystemExit(3)\n"
    )
    log_file = tmp_path / "child.log"
    child = await start_child([sys.executable, "-c", script], log_file=log_file, life_pipe_always=True)
    code = await child.wait()
    watchers = [int(pid) for pid in log_file.read_text().split()]

    assert code == 3
    assert len(watchers) == 1
    await until(lambda: not is_alive(watchers[0]))


async def test_child_stops_when_asked(tmp_path: Path) -> None:
    """SIGTERM is enough, and the exit code tells it."""
    child = await start_child([sys.executable, "-c", WAITING_CHILD], log_file=tmp_path / "child.log")
    await until(lambda: (tmp_path / "child.log").read_text() == "up\n")
    in_time = await child.stop(5)

    assert in_time
    assert child.exit_code == -signal.SIGTERM


async def test_child_does_not_stop_when_asked(tmp_path: Path) -> None:
    """It is killed at the deadline, and the caller is told."""
    child = await start_child([sys.executable, "-c", STUBBORN_CHILD], log_file=tmp_path / "child.log")
    await until(lambda: (tmp_path / "child.log").read_text() == "up\n")
    in_time = await child.stop(0.1)

    assert not in_time
    assert child.exit_code == -signal.SIGKILL


async def test_program_does_not_exist(tmp_path: Path) -> None:
    """The exit code is the shell's for it, and the log says which program."""
    child = await start_child(["/no/such/program"], log_file=tmp_path / "child.log")
    code = await child.wait()

    assert code == 127
    assert "cannot start /no/such/program" in (tmp_path / "child.log").read_text()


async def test_child_has_a_session_of_its_own(tmp_path: Path) -> None:
    """A ctrl-C in the owner's terminal does not reach it."""
    child = await start_child([sys.executable, "-c", WAITING_CHILD], log_file=tmp_path / "child.log")
    try:
        await until(lambda: (tmp_path / "child.log").read_text() == "up\n")

        assert os.getsid(child.pid) == child.pid
    finally:
        await child.kill()
