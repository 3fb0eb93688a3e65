"""`tokenwire up` as a process of its own, on free ports and in a folder of its own, for the tests of the whole line.

Everything is done from outside: addresses come from what the command prints, a child's process id from the kernel,
a stop is a signal. Jars come from the tests' cache, so that nothing is downloaded.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from infra.settings import Settings, load_settings
from infra.simulated_provider.call_log import Call
from tests.integration.broker_fixture import QUICK_JAVA, lend_jars
from tests.integration.broker_release import RELEASE_VARIABLE, line_module
from tests.integration.process_probe import is_alive
from tokenwire.commands.page import page_address
from tokenwire.line.page_token import issue_page_token

__all__ = ["BROKERS_VARIABLE", "POLL_S", "Killed", "WholeLine", "child_ids", "running_line"]

READY_S: Final = 120.0
STOP_S: Final = 20.0
RESTARTED_S: Final = 60.0
HTTP_S: Final = 5.0
POLL_S: Final = 0.05
TOKEN_S: Final = 3_600.0
LOG_TAIL_CHARS: Final = 4_000
PORTS: Final = {f"TOKENWIRE_{name}_PORT": "0" for name in ("KAFKA", "GATEWAY", "PROVIDER", "ANALYTICS", "METRICS")}
OURS: Final = ("TOKENWIRE_", "OPENAI_")
HEAP_MB: Final = "512"
SMALL_HEAP_MB: Final = "192"
BROKERS_VARIABLE: Final = "TOKENWIRE_TEST_BROKERS"


@dataclass(frozen=True, slots=True)
class Killed:
    """A child that was killed: its process id, and how often it had been ready before."""

    name: str
    pid: int
    starts: int


class WholeLine:
    """A line that was started. Made by `running_line`, which also stops it."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.folder = folder
        self.home = folder / "home"
        clean = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        own = {"TOKENWIRE_HOME": str(self.home), "TOKENWIRE_KAFKA_HEAP_MB": HEAP_MB, "TOKENWIRE_LOG_FORMAT": "json"}
        release = {name: value for name, value in os.environ.items() if name == RELEASE_VARIABLE}
        self.environment = clean | own | QUICK_JAVA | PORTS | brokers() | release | settings
        self.addresses: dict[str, Any] = {}
        self.process: subprocess.Popen[str] | None = None

    # ---- Start and stop

    def start(self, options: Sequence[str]) -> None:
        """Start and wait until everything is ready."""
        lend_jars(self.home)
        with (self.folder / "up.log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", line_module(), "up", "--json", *options],
                cwd=self.folder,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        readable, _, _ = select.select([self.process.stdout], [], [], READY_S)
        first = self.process.stdout.readline() if readable else ""
        assert first, f"not ready:\n{self.said()}"
        self.addresses = json.loads(first)

    def stop(self) -> float:
        """SIGTERM; seconds until everything had ended. Asserts that it was in time and that no child is left."""
        assert self.process is not None
        children = self.children()
        asked_s = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.end()
            raise AssertionError(f"`tokenwire up` ran on for {STOP_S:g} s after SIGTERM:\n{self.said()}") from None
        assert self.process.stdout is not None
        self.process.stdout.close()
        left = [name for name, pid in children.items() if is_alive(pid)]
        assert not left, f"outlived the supervisor: {left}"
        assert code == 0, self.said()
        return time.monotonic() - asked_s

    def end(self) -> None:
        """End what still runs, without a word: for a test that has failed already."""
        assert self.process is not None
        self.process.kill()  # the children end with it
        self.process.wait(STOP_S)
        if self.process.stdout is not None:
            self.process.stdout.close()

    @property
    def runs(self) -> bool:
        """Whether the supervisor is there."""
        return self.process is not None and self.process.poll() is None

    def kill_supervisor(self) -> dict[str, int]:
        """`kill -9` the supervisor; the children that it had."""
        assert self.process is not None
        children = self.children()
        self.end()
        return children

    # ---- Children

    def children(self) -> dict[str, int]:
        """Process ids by name, such as `kafka` or `gateway-2`: told apart by the log file that each one writes to."""
        assert self.process is not None
        if not Path("/proc/self/fd").exists():
            pytest.skip("finding the line's processes needs /proc")
        found = {}
        for pid in child_ids(self.process.pid):
            try:
                output = os.readlink(f"/proc/{pid}/fd/1")
            except OSError:
                continue  # it ended between the two looks
            if output.endswith(".log"):
                found[Path(output).stem] = pid
        return found

    def kill(self, name: str) -> Killed:
        """`kill -9` one child."""
        killed = Killed(name, self.children()[name], self.starts_of(name))
        os.kill(killed.pid, signal.SIGKILL)
        return killed

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The supervisor sees and does nothing meanwhile."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def environment_of(self, name: str) -> dict[str, str]:
        """What a child was started with."""
        words = Path(f"/proc/{self.children()[name]}/environ").read_text().split("\0")
        return {variable: value for variable, _, value in (word.partition("=") for word in words)}

    def until_said(self, words: str) -> None:
        """Wait until the supervisor has said it."""
        started_s = time.monotonic()
        while words not in self.said():
            assert time.monotonic() < started_s + RESTARTED_S, f"{words!r} was never said:\n{self.said()}"
            time.sleep(POLL_S)

    def until_restarted(self, killed: Killed) -> float:
        """Wait until the supervisor says that a killed child is ready again; the seconds it took."""
        started_s = time.monotonic()
        while self.starts_of(killed.name) <= killed.starts:
            assert time.monotonic() < started_s + RESTARTED_S, f"{killed.name} did not come back:\n{self.logs()}"
            assert self.runs, f"the supervisor ended:\n{self.said()}"
            time.sleep(POLL_S)
        assert self.children()[killed.name] != killed.pid
        return time.monotonic() - started_s

    def starts_of(self, name: str) -> int:
        """How often the supervisor has said that a child is ready."""
        return self.said().count(f"{name} is ready")

    # ---- What it says

    def said(self) -> str:
        """What the supervisor has said so far."""
        return (self.folder / "up.log").read_text()

    def log_of(self, name: str) -> str:
        """What a child has logged."""
        return (self.home / "logs" / f"{name}.log").read_text()

    def logs(self) -> str:
        """The ends of all logs, for the message of a failed test."""
        files = sorted((self.home / "logs").glob("*.log"))
        ends = (f"---- {file.name}\n{file.read_text(errors='replace')[-LOG_TAIL_CHARS:]}" for file in files)
        return "\n".join([self.said(), *ends])

    @property
    def gateways(self) -> list[str]:
        """Addresses of the gateways."""
        return list(self.addresses["gateways"])

    @property
    def kafka(self) -> str:
        """Bootstrap servers."""
        return str(self.addresses["kafka"])

    @property
    def analytics_port(self) -> int:
        """Port of the read-only ClickHouse endpoint."""
        return int(self.addresses["analytics"].rpartition(":")[2])

    @property
    def analytics_access(self) -> dict[str, Any]:
        """What a plain ClickHouse client is told to read there: address, user and token."""
        token = self.addresses["analytics_token"]
        return {"host": "127.0.0.1", "port": self.analytics_port, "username": "default", "password": token}

    def token(self, user: str) -> str:
        """An access token, as `tokenwire token` makes it."""
        return issue_page_token(load_settings({}, home=self.home), user, ttl_s=TOKEN_S, now_s=time.time())

    def page(self, user: str) -> str:
        """An address of the page, as `tokenwire page` prints it: it signs the user in, once."""
        settings = load_settings({}, home=self.home)
        return page_address(settings, f"{self.gateways[0]}/", user, now_s=time.time())

    def producer_settings(self) -> Settings:
        """Settings of an upstream service that publishes to this line."""
        return load_settings({}, home=self.home, kafka=self.kafka)

    def calls(self) -> list[Call]:
        """Every call that the simulated provider has had."""
        address = self.addresses["provider"].removesuffix("/v1") + "/calls"
        with urllib.request.urlopen(address, timeout=HTTP_S) as answer:
            return msgspec.json.decode(answer.read(), type=list[Call])


@contextmanager
def running_line(folder: Path, *options: str, **settings: object) -> Iterator[WholeLine]:
    """A ready line, stopped at the end. `options` of `tokenwire up`; `settings` by their names in `Settings`."""
    line = WholeLine(folder, {f"TOKENWIRE_{name.upper()}": str(value) for name, value in settings.items()})
    try:
        line.start(options)
        yield line
    except BaseException:
        if line.runs:
            line.end()
        raise
    line.stop()


def brokers() -> dict[str, str]:
    """Settings of a line whose test asks for no brokers of its own: three where TOKENWIRE_TEST_BROKERS says so."""
    count = os.environ.get(BROKERS_VARIABLE)
    return {"TOKENWIRE_KAFKA_BROKERS": count, "TOKENWIRE_KAFKA_HEAP_MB": SMALL_HEAP_MB} if count else {}


def child_ids(parent: int) -> list[int]:
    """The processes that a process has started and that still run."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            after_name = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended between the two looks
        if int(after_name[1]) == parent and after_name[0] != "Z":
            found.append(int(folder.name))
    return found
