"""`make setup`: from a fresh checkout to everything that a run needs, with nothing but Python and its venv module.

    python3 infra/setup_environment.py --venv .venv

Standard library only, and readable by Python 3.7 as far as the sentence that asks for a newer one. Six steps: virtual
environment, locked dependencies (every file checked by its hash), the project itself, what an environment of the light
client is made from (a test needs it), the broker's jars and its start cache. What a step was made from is remembered in
the environment, so a second run does nothing and an interrupted one goes on.
Output of pip goes to a log; a failure shows its end.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["SetupFailed", "main"]

PYTHON_MIN = (3, 11)
GIB = 1024**3
DISK_FREE_BYTES_MIN = 2 * GIB
LOG_TAIL_LINES = 25
PROGRESS_EVERY_S = 5.0
ROOT = Path(__file__).resolve().parent.parent
LOCK_FILE = ROOT / "requirements.lock"
PROJECT_FILE = ROOT / "pyproject.toml"
PACKAGE_LINE = re.compile(r"^[A-Za-z0-9_.-]+(\[[^]]*\])?==")


class SetupFailed(Exception):
    """The set-up cannot go on; the sentence says what to do."""


class Setup:
    """One run of the set-up for one virtual environment."""

    def __init__(self, venv: Path) -> None:
        self._venv = venv
        self.python = venv / "bin" / "python"
        self._home = Path(os.environ.get("TOKENWIRE_HOME") or ROOT / ".tokenwire")
        self.log_file = self._home / "logs" / "setup.log"
        self._state_file = venv / ".setup-state.json"
        self.state = self.read_state()

    def run(self) -> None:
        """Do what is not done yet."""
        self.step("environment", f"Python {sys.version}", "Creating the virtual environment", self.create_environment)
        self.step("dependencies", digest(LOCK_FILE), "Installing the locked dependencies", self.install_dependencies)
        self.step("project", f"{ROOT} {digest(PROJECT_FILE)}", "Installing tokenwire itself", self.install_project)
        self.fill_wheelhouse()
        if not os.environ.get("TOKENWIRE_KAFKA"):
            self.fetch_jars()
            self.make_start_cache()

    def step(self, name: str, made_from: str, title: str, action: Callable[[], None]) -> None:
        """Run a step unless it was done from the same things; steps after it are then done anew."""
        if self.state.get(name) == made_from and self.python.exists():
            return
        require_disk_space(self._venv)
        say(f"{title} …")
        started_s = time.monotonic()
        self.state.pop(name, None)
        action()
        self.state[name] = made_from
        self.write_state()
        say(f"  done in {time.monotonic() - started_s:.0f} s")

    def create_environment(self) -> None:
        """One made by hand with the same Python is kept, half of one is completed, one of another Python is emptied."""
        self.state.clear()
        exists = self._venv.exists() and any(self._venv.iterdir())
        if exists and not (self._venv / "pyvenv.cfg").exists():
            raise SetupFailed(
                f"{self._venv} exists and is no virtual environment; move it away or pass another --venv."
            )
        command = [sys.executable, "-m", "venv", str(self._venv)]
        if exists and self.version_inside() != sys.version:
            command.append("--clear")
        self.call(command, "The virtual environment could not be created.")

    def version_inside(self) -> str:
        """Of the Python in the environment; empty if it does not run."""
        command = [str(self.python), "-c", "import sys; print(sys.version, end='')"]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=False).stdout
        except OSError:
            return ""

    def install_dependencies(self) -> None:
        packages = sum(1 for line in LOCK_FILE.read_text().splitlines() if PACKAGE_LINE.match(line))
        command = self.pip("install", "--require-hashes", "--requirement", str(LOCK_FILE))
        self.call(command, "The dependencies could not be installed; is there a network?", packages=packages)

    def install_project(self) -> None:
        """With the build tool from the lock: pip would fetch another one, unchecked, for an isolated build."""
        command = self.pip("install", "--no-deps", "--no-build-isolation", "--editable", str(ROOT))
        self.call(command, "The project could not be installed into its environment.")

    def fill_wheelhouse(self) -> None:
        """Nothing that runs needs it: where it fails, the light client's test is skipped and says so."""
        folder = self._home / "cache" / "wheelhouse"
        if self.state.get("wheelhouse") == digest(LOCK_FILE) and folder.is_dir():
            return
        command = [str(self.python), "-m", "infra.client_distribution", "--wheelhouse", str(folder)]
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with self.log_file.open("a") as output:
            if subprocess.run(command, cwd=ROOT, stdout=output, stderr=output, check=False).returncode == 0:
                self.state["wheelhouse"] = digest(LOCK_FILE)
                self.write_state()

    def fetch_jars(self) -> None:
        """Instant when they are there; says by itself what it downloads, and why it could not."""
        started_s = time.monotonic()
        command = [str(self.python), "-m", "infra.embedded.broker_jars"]
        environment = {**os.environ, "TOKENWIRE_HOME": str(self._home)}
        if not any(self._home.glob("cache/jars/verified-*")):
            say("Fetching the Kafka broker's jars …")
        if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode != 0:
            raise SetupFailed("Everything else is installed; `make setup` goes on from here.")
        if time.monotonic() - started_s > PROGRESS_EVERY_S:
            say(f"  done in {time.monotonic() - started_s:.0f} s")

    def make_start_cache(self) -> None:
        """Instant when it is there. Without it the broker only starts more slowly: a failure is no fault."""
        command = [str(self.python), "-m", "infra.embedded.start_cache"]
        subprocess.run(command, cwd=ROOT, env={**os.environ, "TOKENWIRE_HOME": str(self._home)}, check=False)

    def pip(self, *arguments: str) -> list[str]:
        return [str(self.python), "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]

    def call(self, command: list[str], sentence: str, packages: int = 0) -> None:
        """Run a command with its output in the log; raise SetupFailed with the end of it."""
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        lines = []
        progress = Progress(packages)
        with self.log_file.open("a") as log:
            log.write(f"$ {' '.join(command)}\n")
            with subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT
            ) as process:
                assert process.stdout is not None
                for line in process.stdout:
                    log.write(line)
                    lines.append(line)
                    progress.note(line)
        if process.returncode != 0:
            tail = "".join(lines[-LOG_TAIL_LINES:])
            raise SetupFailed(f"{tail}\n{sentence} All of it is in {self.log_file}.")

    def read_state(self) -> dict[str, str]:
        try:
            state = json.loads(self._state_file.read_text())
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}

    def write_state(self) -> None:
        self._state_file.write_text(json.dumps(self.state, indent=1))


class Progress:
    """How far pip is, from its own lines, said every few seconds."""

    def __init__(self, packages: int) -> None:
        self._packages = packages
        self._collected = 0
        self._said_s = time.monotonic()

    def note(self, line: str) -> None:
        self._collected += line.startswith(("Collecting ", "Requirement already satisfied: "))
        now_s = time.monotonic()
        if line.startswith("Installing collected packages") and self._packages:
            say("  downloaded; unpacking")
        elif self._packages and now_s - self._said_s > PROGRESS_EVERY_S:
            say(f"  {min(self._collected, self._packages)} of up to {self._packages} packages")
            self._said_s = now_s


def main() -> int:
    """Parse the options, check the machine, run; an exit code."""
    parser = argparse.ArgumentParser(description="Set up everything a run of tokenwire needs.")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="folder of the virtual environment")
    options = parser.parse_args()
    started_s = time.monotonic()
    try:
        require_python()
        Setup(options.venv.absolute()).run()
    except SetupFailed as failure:
        sys.stderr.write(f"{failure}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted; `make setup` goes on from here.\n")
        return 130
    say(f"Everything is set up ({time.monotonic() - started_s:.0f} s). `make up` runs it.")
    return 0


def require_python() -> None:
    """The Python that was called: new enough, and able to make environments."""
    have = ".".join(str(part) for part in sys.version_info[:3])
    wanted = ".".join(str(part) for part in PYTHON_MIN)
    if sys.version_info[:2] < PYTHON_MIN:
        raise SetupFailed(
            f"Tokenwire needs Python {wanted} or newer; {sys.executable} is {have}. "
            f"Install a newer one and name it: make setup PYTHON=python{wanted}"
        )
    if any(importlib.util.find_spec(module) is None for module in ("venv", "ensurepip")):
        raise SetupFailed(
            f"{sys.executable} cannot make virtual environments. On Debian and Ubuntu: "
            f"apt-get install python3-venv (or python{sys.version_info[0]}.{sys.version_info[1]}-venv)."
        )


def require_disk_space(folder: Path) -> None:
    """Java, the database engine and the rest take over a gigabyte."""
    existing = folder
    while not existing.exists():
        existing = existing.parent
    free_bytes = shutil.disk_usage(existing).free
    if free_bytes < DISK_FREE_BYTES_MIN:
        raise SetupFailed(
            f"Only {free_bytes / GIB:.1f} GB are free for {folder}; {DISK_FREE_BYTES_MIN / GIB:.0f} GB are needed."
        )


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
