"""What the newcomer does in the bare Debian, with its own Python: clone, then each step, with its time and its end."""

from __future__ import annotations

import locale
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

__all__ = ["main"]

HOME: Final = Path.home()
CODE: Final = HOME / "my code" / "tokenwire"
STEP_S_MAX: Final = 3 * 3_600.0
READY_S_MAX: Final = 600.0
ANSWER_S_MAX: Final = 120.0
STOP_S_MAX: Final = 60.0
LOOK_S: Final = 0.5
TAIL_LINES: Final = 30
GIT: Final = ("git", "-c", "init.defaultBranch=main", "-c", "advice.detachedHead=false")
PORTS: Final = {f"TOKENWIRE_{name}_PORT": "0" for name in ("KAFKA", "GATEWAY", "PROVIDER", "ANALYTICS", "METRICS")}


def main(steps: list[str]) -> int:
    """Every step, also after one that failed; 1 if one did."""
    browsers = [name for name in ("chromium", "firefox-esr", "firefox", "node") if shutil.which(name)]
    say(
        f"Python {platform.python_version()}, {locale.getencoding()}, {time.strftime('%Z')}, {browsers or 'no browser'}"
    )
    subprocess.run([*GIT, "clone", "--quiet", str(HOME / "tokenwire.bundle"), str(CODE)], check=True)
    os.chdir(CODE)
    failed = [name for name in steps if not step(name)]
    return int(bool(failed))


def step(name: str) -> bool:
    """Run it, say how it ended, and show the end of its log if it failed."""
    log = HOME / f"{name}.log"
    started_s = time.monotonic()
    with log.open("w") as output:
        try:
            fault = (up(output) if name == "up" else made(name, output)) or left_running()
        except subprocess.TimeoutExpired as late:
            fault = f"not done after {late.timeout:.0f} s"
    lines = log.read_text(errors="replace").splitlines()
    say(f"{name}: {fault or 'ok'}, {time.monotonic() - started_s:.0f} s")
    for line in lines[-TAIL_LINES:] if fault else [line for line in lines if counts(line)]:
        say(f"    {line}")
    return not fault


def made(target: str, output: TextIO) -> str:
    """`make TARGET`; what went wrong, or nothing."""
    with own_session(["make", target], output, {}) as process:
        code = process.wait(STEP_S_MAX)
    return f"make ended with {code}" if code else ""


def up(output: TextIO) -> str:
    """`make up` until it names its page, a prompt from another terminal, ctrl-C; what went wrong, or nothing."""
    with own_session(["make", "up"], output, PORTS) as process:
        deadline_s = time.monotonic() + READY_S_MAX
        while "#code=" not in Path(output.name).read_text():
            if process.poll() is not None or time.monotonic() > deadline_s:
                return "it never named its page"
            time.sleep(LOOK_S)
        asked = [".venv/bin/tokenwire", "send", "Why is the sky blue? \N{ROCKET}"]
        answered = subprocess.run(asked, stdout=output, stderr=subprocess.STDOUT, timeout=ANSWER_S_MAX, check=False)
        os.killpg(process.pid, signal.SIGINT)
        process.wait(STOP_S_MAX)
    return f"`tokenwire send` ended with {answered.returncode}" if answered.returncode else ""


@contextmanager
def own_session(command: list[str], output: TextIO, settings: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A command with its children, as a terminal has them: ended together at the latest on the way out."""
    process = subprocess.Popen(
        command,
        env=os.environ | settings,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def left_running() -> str:
    """What is still there of ours a while after a step; it would be there for good. Nothing, if nothing is."""
    deadline_s = time.monotonic() + STOP_S_MAX
    while left := [name for pid, name in ours() if pid != os.getpid()]:
        if time.monotonic() > deadline_s:
            return f"still running: {', '.join(left)}"
        time.sleep(LOOK_S)
    return ""


def ours() -> Iterator[tuple[int, str]]:
    """The processes of this user, by number and name."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if folder.stat().st_uid == os.getuid():
                yield int(folder.name), (folder / "comm").read_text().strip()
        except OSError:
            continue  # it has just ended


def counts(line: str) -> bool:
    """Whether a line says how many tests there were, or how long the set-up took."""
    return " passed" in line or line.startswith("Everything is set up")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
