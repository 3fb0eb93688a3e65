"""Become another program that dies with its owner. Run by path, before anything of ours can be imported.

    python -I -S child_launcher.py OWNER_PID LIFE_PIPE PROGRAM ARGUMENT…

A child must not outlive its owner even when the owner is killed with SIGKILL and cannot say goodbye. On Linux the
kernel does it: PR_SET_PDEATHSIG. Elsewhere a small process is left behind that waits for the end of the life pipe,
whose only writer is the owner, and then kills the program; a second pipe, held by the program alone, tells it that
the program ended by itself. Both survive `exec`, so the program keeps this process's id and needs no cooperation.

Why a launcher and not `preexec_fn`: that runs Python between fork and exec in a process with threads, where any lock
may be held for ever. Why the check of the parent's id: the owner may have died before the request was made.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys

__all__ = ["main"]

PR_SET_PDEATHSIG = 1
EXIT_CANNOT_START = 127
EXIT_OWNER_GONE = 128 + signal.SIGKILL
NO_LIFE_PIPE = -1


def main(arguments: list[str]) -> None:
    """Bind this process's life to its owner's, then become the program."""
    owner_pid, life_pipe, program = int(arguments[0]), int(arguments[1]), arguments[2:]
    if life_pipe == NO_LIFE_PIPE:
        ask_kernel_to_end_with_parent()
    else:
        leave_watcher(life_pipe)
    if os.getppid() != owner_pid:
        os._exit(EXIT_OWNER_GONE)
    try:
        os.execvp(program[0], program)
    except OSError as error:
        sys.stderr.write(f"cannot start {program[0]}: {error.strerror}\n")
        os._exit(EXIT_CANNOT_START)


def ask_kernel_to_end_with_parent() -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")


def leave_watcher(life_pipe: int) -> None:
    """Fork the watcher. The program inherits the writing end of the second pipe and nothing else of ours."""
    program_pid = os.getpid()
    program_ended, held_by_program = os.pipe()
    if os.fork() == 0:
        os.close(held_by_program)
        watch(program_pid, life_pipe, program_ended)
        os._exit(0)
    os.close(program_ended)
    os.close(life_pipe)
    os.set_inheritable(held_by_program, True)


def watch(program_pid: int, life_pipe: int, program_ended: int) -> None:
    """Wait until the owner or the program is gone; then end the program's group if it was the owner."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    ready, _, _ = select.select([life_pipe, program_ended], [], [])
    if program_ended not in ready:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program_pid, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
