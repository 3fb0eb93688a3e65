"""Worker processes of the tests, forked from one that has read the modules: a start costs a tenth of its CPU.

Reading them takes a worker three seconds of CPU, and the tests start over a hundred. What is forked runs the command
`tokenwire worker` from its first line on. That a worker also starts as a program of its own is seen by every test
that has a whole line (`whole_line.py`).

    tests ── a line of JSON, and the log's file descriptor ──> template ── fork ──> worker
          <── its process id, or its exit code once it ended ──
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, BinaryIO, Final

__all__ = ["Worker", "start_worker_process"]

LINE_BYTES_MAX: Final = 1_000_000
ANSWER_S: Final = 60.0
"""The first answer waits until all modules are read."""
WAIT_S: Final = 60.0
POLL_S: Final = 0.02


class Worker:
    """A running worker, with those of Popen's calls that tests use."""

    def __init__(self, template: Template, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._template = template

    def poll(self) -> int | None:
        """The exit code, minus the signal that ended it; None while it runs."""
        if self.returncode is None:
            self.returncode = self._template.ask({"reap": self.pid})["code"]
        return self.returncode

    def wait(self, timeout: float = WAIT_S) -> int:
        """Wait for the exit code. Raises subprocess.TimeoutExpired."""
        give_up_s = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > give_up_s:
                raise subprocess.TimeoutExpired("tokenwire worker", timeout)
            time.sleep(POLL_S)
        return code

    def send_signal(self, number: int) -> None:
        """Nothing happens where it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)  # not yet reaped, so that the id is nobody else's

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Template:
    """The process that workers are forked from, and the line to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ours, theirs = socket.socketpair()
        self._ours.settimeout(ANSWER_S)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())], pass_fds=[theirs.fileno()]
            )

    def ask(self, request: Mapping[str, Any], *files: int) -> Any:
        """Its answer."""
        with self._lock:
            socket.send_fds(self._ours, [json.dumps(request).encode() + b"\n"], files)
            answer = b""
            while not answer.endswith(b"\n"):
                part = self._ours.recv(LINE_BYTES_MAX)
                assert part, "the process that workers are forked from has ended"
                answer += part
        return json.loads(answer)

    def end(self) -> None:
        """It ends, and what still runs of it."""
        self._ours.close()
        self._process.wait(ANSWER_S)


templates: list[Template] = []


def start_worker_process(environment: Mapping[str, str], log: BinaryIO) -> Worker:
    """Start a worker whose output goes to this file."""
    if not templates:
        templates.append(Template())
        atexit.register(templates[0].end)
    request = {"environment": dict(environment), "folder": os.getcwd()}
    return Worker(templates[0], templates[0].ask(request, log.fileno())["pid"])


# ---- The template itself


def serve(line: socket.socket) -> dict[str, Any] | None:
    """Fork a worker for each request until the tests are gone; in a worker, the request that it came from."""
    running: set[int] = set()
    while request := read_request(line):
        asked, files = request
        if "reap" in asked:
            ended, status = os.waitpid(asked["reap"], os.WNOHANG)
            running.discard(ended)
            code = os.waitstatus_to_exitcode(status) if ended else None
            line.sendall(json.dumps({"code": code}).encode() + b"\n")
            continue
        pid = os.fork()
        if pid == 0:
            line.close()
            for number in (1, 2):
                os.dup2(files[0], number)
            os.close(files[0])
            return asked
        os.close(files[0])
        running.add(pid)
        line.sendall(json.dumps({"pid": pid}).encode() + b"\n")
    for pid in running:
        os.kill(pid, signal.SIGKILL)
    return None


def read_request(line: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    data, files, _, _ = socket.recv_fds(line, LINE_BYTES_MAX, 1)
    while data and not data.endswith(b"\n"):
        data += line.recv(LINE_BYTES_MAX)
    return (json.loads(data), files) if data else None


def main() -> None:
    import processors.app  # noqa: F401 - and all that it reads
    from processors.sessions.decisions.token_count import load_encoding
    from tokenwire import command_line

    load_encoding()
    assert threading.active_count() == 1, "a fork takes only this thread along"
    request = serve(socket.socket(fileno=int(sys.argv[1])))
    if request is not None:
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["folder"])
        command_line.main(["worker"])


if __name__ == "__main__":
    main()
