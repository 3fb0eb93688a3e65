"""A child process that never outlives the process that started it.

The child gets a session of its own, so that ctrl-C in the terminal reaches the owner alone, which then stops its
children in order. How its life is bound to the owner's is told in `child_launcher.py`. The kernel's parent-death signal
belongs to the *thread* that started the child: start children on a thread that lives as long as they may (an event
loop in the main thread does).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from infra.embedded.child_launcher import NO_LIFE_PIPE
from infra.embedded.child_log import open_log
from infra.embedded.decisions.child_environment import program_environment

__all__ = ["ChildProcess", "start_child"]

KILLED_WAIT_S: Final = 5.0
"""Longest wait for the kernel to take down a process after SIGKILL; longer only in uninterruptible sleep."""


class ChildProcess:
    """A started child. Made by `start_child`."""

    def __init__(self, process: asyncio.subprocess.Process, life_pipe: int | None) -> None:
        self._process = process
        self._life_pipe = life_pipe

    @property
    def pid(self) -> int:
        """The program's own process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative = the signal that ended it."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait until the child has ended; its exit code.

        Cancellation: the child runs on.
        """
        code = await self._process.wait()
        self._release()
        return code

    async def stop(self, deadline_s: float) -> bool:
        """SIGTERM, then SIGKILL to its whole group at the deadline. True = it ended by itself in time.

        Cancellation: the child may have been asked to stop and may still run; call again to be certain.
        """
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(deadline_s):
                await self.wait()
                return True
        except TimeoutError:
            await self.kill()
            return False

    async def kill(self) -> None:
        """SIGKILL to the child and everything in its group."""
        self._signal(signal.SIGKILL)
        async with asyncio.timeout(KILLED_WAIT_S):
            await self.wait()

    def _signal(self, number: signal.Signals) -> None:
        """Once the exit code is known the id may be another's: signal nothing."""
        if self.exit_code is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            if number is signal.SIGKILL:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)

    def _release(self) -> None:
        if self._life_pipe is not None:
            os.close(self._life_pipe)
            self._life_pipe = None


async def start_child(
    argv: Sequence[str | Path],
    *,
    log_file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    working_folder: Path | None = None,
    life_pipe_always: bool = False,
) -> ChildProcess:
    """Start a program whose output goes to the end of `log_file` (None = to nobody).

    `environment` is all that it is given; None = what every program needs (`decisions/child_environment.py`).
    `life_pipe_always` takes the portable way on Linux too (for its test).

    Cancellation: the child may have been started; it then ends with this process.
    """
    portable = life_pipe_always or not sys.platform.startswith("linux")
    reading, writing = os.pipe() if portable else (NO_LIFE_PIPE, None)
    launcher = [sys.executable, "-I", "-S", str(Path(__file__).with_name("child_launcher.py"))]
    output = asyncio.subprocess.DEVNULL if log_file is None else open_log(log_file)
    try:
        process = await asyncio.create_subprocess_exec(
            *launcher,
            str(os.getpid()),
            str(reading),
            *(str(part) for part in argv),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=program_environment(os.environ) if environment is None else dict(environment),
            cwd=working_folder,
            start_new_session=True,
            pass_fds=(reading,) if portable else (),
        )
    except BaseException:  # no child holds the other end: the pipe would stay open
        if writing is not None:
            os.close(writing)
        raise
    finally:
        if output != asyncio.subprocess.DEVNULL:
            os.close(output)
        if portable:
            os.close(reading)
    return ChildProcess(process, writing)
