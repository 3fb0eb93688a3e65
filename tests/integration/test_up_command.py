"""`tokenwire up` as a user runs it: everything in one folder on free ports, asked by the other commands, stopped.

Covers: tokenwire.commands.processes, tokenwire.commands.query, tokenwire.commands.send, tokenwire.commands.up.
"""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import pytest

from tests.integration.broker_fixture import QUICK_JAVA, lend_jars
from tests.integration.whole_line import child_ids

READY_S: Final = 120.0
STOP_S: Final = 20.0
SLOWLY = "[[sim tokens=20 pace_ms=50]]"
"""An answer takes a second: what stops a batch on the way finds it on the way."""
COMMAND_S: Final = 60.0
ROW_S: Final = 20.0
SCANNED_BYTES_MAX: Final = 5_000_000
CANARIES: Final = {
    "SOMEBODY_S_TOKEN": "canary-of-somebody",
    "TOKENWIRE_AUTH_SECRET": "canary-of-the-gateways-" + "x" * 32,
}
PORTS: Final = {f"TOKENWIRE_{name}_PORT": "0" for name in ("KAFKA", "GATEWAY", "PROVIDER", "ANALYTICS", "METRICS")}


class Line:
    """A running `tokenwire up` and the commands of another terminal."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("TOKENWIRE_", "OPENAI_"))}
        self.environment = clean | QUICK_JAVA | CANARIES | {"TOKENWIRE_HOME": str(folder / "home")}
        lend_jars(folder / "home")
        self.process: subprocess.Popen[str] | None = None
        self.addresses: dict[str, Any] = {}

    def start(self, *options: str) -> None:
        with (self.folder / "up.log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tokenwire", "up", "--json", *options],
                cwd=self.folder,
                env=self.environment | PORTS,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                umask=0,
            )
        assert self.process.stdout is not None
        first = self.process.stdout.readline()  # ends when it is ready or has failed; the test's own limit bounds it
        assert first, (self.folder / "up.log").read_text()
        self.addresses = json.loads(first)

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(STOP_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "tokenwire", *arguments],
            cwd=self.folder,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
        )

    def calls(self) -> int:
        """Paid calls that the simulated provider has seen."""
        with urllib.request.urlopen(self.addresses["provider"].removesuffix("/v1") + "/calls", timeout=5) as answer:
            return len(json.loads(answer.read()))


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    running = Line(tmp_path_factory.mktemp("line"))
    running.start("--workers", "2", "--gateways", "2", "--topic-layout", "shared")
    try:
        yield running
    finally:
        if running.process is not None and running.process.poll() is None:
            running.stop()


def test_everything_is_there_when_it_says_so(line: Line) -> None:
    """Two gateways, both ready; page with its code; the addresses are in the answer, ports chosen freely."""
    for gateway in line.addresses["gateways"]:
        with urllib.request.urlopen(f"{gateway}/readyz", timeout=5) as answer:
            assert answer.status == 200

    assert len(line.addresses["gateways"]) == 2
    assert "/#code=" in line.addresses["page"]
    assert line.addresses["simulated"] is True


def test_prompt_sent_in_another_terminal_is_answered(line: Line) -> None:
    """No setting but the folder: `send` finds ports and layout by itself; the same id again is not paid for again."""
    first = line.run("send", "--session", "s1", "--prompt-id", "p1", "Why is the sky blue?")
    paid = line.calls()
    again = line.run("send", "--json", "--session", "s1", "--prompt-id", "p1", "Why is the sky blue?")
    other = line.run("send", "--session", "s1", "--prompt-id", "p1", "Why is it dark at night?")

    assert first.returncode == 0, first.stderr
    assert "complete" in first.stderr
    assert json.loads(again.stdout)["text"] == first.stdout.removesuffix("\n")
    assert line.calls() == paid
    assert other.returncode == 1
    assert "prompt_id" in other.stderr


def test_prompt_need_not_be_waited_for(line: Line) -> None:
    """--no-wait prints the turn's id for scripts, and for people how to come back to the prompt."""
    told = line.run("send", "--no-wait", "--session", "later", "--prompt-id", "q1", "Hello")

    assert told.returncode == 0
    assert told.stdout.strip().isalnum()
    assert told.stderr.startswith("Accepted. Session later, prompt q1: ")


def test_interrupted_send_says_that_the_answer_goes_on(line: Line) -> None:
    """Ctrl-C: the reader leaves, the answer does not; the same command shows it whole."""
    ids = ("--session", "left", "--prompt-id", "q1")
    command = [sys.executable, "-P", "-m", "tokenwire", "send", *ids, f"{SLOWLY} Who stays?"]
    with subprocess.Popen(
        command, env=line.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as sending:
        assert sending.stdout is not None
        first = sending.stdout.read(1)
        sending.send_signal(signal.SIGINT)
        _, told = sending.communicate(timeout=30)
    again = line.run("send", *ids, f"{SLOWLY} Who stays?")

    assert first
    assert sending.returncode == 130
    assert "The answer goes on without you. Session left, prompt q1: " in told
    assert "tokenwire cancel --session left --prompt-id q1" in told
    assert "Traceback" not in told
    assert "complete" in again.stderr


def test_batch_stopped_in_the_middle_goes_on_without_paying_twice(line: Line) -> None:
    """Ctrl-C leaves a valid results file; the same command finishes the rest; every line is answered and paid once."""
    file, results = line.folder / "prompts.jsonl", line.folder / "prompts.jsonl.results.jsonl"
    file.write_text("".join(json.dumps({"input": f"{SLOWLY} Question {number}?"}) + "\n" for number in range(12)))
    paid_before = line.calls()
    command = [sys.executable, "-P", "-m", "tokenwire", "send", "--file", str(file), "--lanes", "3"]
    stopped = subprocess.Popen(command, env=line.environment, stderr=subprocess.PIPE, text=True)
    give_up_s = time.monotonic() + COMMAND_S
    while not (results.exists() and results.read_bytes().count(b"\n") >= 2):
        assert time.monotonic() < give_up_s, "no result came"
        time.sleep(0.05)
    stopped.send_signal(signal.SIGINT)
    _, words = stopped.communicate(timeout=COMMAND_S)
    after_stop = [json.loads(each) for each in results.read_text().splitlines()]

    resumed = line.run("send", "--json", "--file", str(file), "--lanes", "12")

    answered = [json.loads(each) for each in results.read_text().splitlines()]
    assert stopped.returncode == 130
    assert "Run the same command to go on" in words
    assert 2 <= len(after_stop) < 12
    assert resumed.returncode == 0, resumed.stderr
    assert json.loads(resumed.stdout)["answered_before"] == len(after_stop)
    assert sorted(each["line"] for each in answered) == list(range(1, 13))
    assert {each["reason"] for each in answered} == {"complete"}
    assert line.calls() == paid_before + 12


async def test_metadata_comes_back(line: Line) -> None:
    """What a line of a batch carries along stands in its result and in its row."""
    file = line.folder / "tickets.jsonl"
    file.write_text(json.dumps({"input": "Hello", "metadata": {"ticket": "4711"}}) + "\n")
    sent = await asyncio.to_thread(line.run, "send", "--file", str(file))
    (result,) = (line.folder / "tickets.jsonl.results.jsonl").read_text().splitlines()
    give_up_s = time.monotonic() + ROW_S
    sql = "SELECT turn FROM turns WHERE metadata['ticket'] = '4711'"
    while not (found := (await asyncio.to_thread(line.run, "query", "--json", sql)).stdout.strip()):
        assert time.monotonic() < give_up_s, "the row did not arrive"

    assert sent.returncode == 0, sent.stderr
    assert json.loads(result)["metadata"] == {"ticket": "4711"}
    assert json.loads(found)["turn"] == json.loads(result)["turn"]


def test_S43_printed_address_signs_in_once(line: Line) -> None:
    """At any of the gateways; a new one is a command away, and what is kept of the line in its folder holds no code."""
    page = line.addresses["page"]
    printed = line.run("page", "--json", "--user", "alice")
    elsewhere = line.run("page", "--address", "https://chat.example.com")
    other = json.loads(printed.stdout)
    first, second = line.addresses["gateways"]
    used = [exchanged(at, code_in(page)) for at in (second, first)]
    used.append(exchanged(first, code_in(other["page"])))

    assert [(status, body.get("user")) for status, body in used] == [(200, "local"), (401, None), (200, "alice")]
    assert other["page"].startswith(f"{first}/#code=")
    assert other["expires_at_s"] == pytest.approx(time.time() + 900, abs=120)
    assert elsewhere.stdout.startswith("https://chat.example.com/#code=")
    kept = [path for path in (line.folder / "home").rglob("*") if path.suffix in (".json", ".log")]
    assert line.folder / "home" / "run.json" in kept
    assert not [path for path in kept if code_in(page)[-40:] in path.read_text(errors="replace")]


def exchanged(gateway: str, code: str) -> tuple[int, dict[str, Any]]:
    asked = urllib.request.Request(
        f"{gateway}/v1/token", method="POST", headers={"Authorization": f"Bearer {code}", "Origin": gateway}
    )
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        error.close()
        return error.code, {}


def code_in(page: str) -> str:
    return page.partition("#code=")[2]


async def test_rows_can_be_asked_for(line: Line) -> None:
    """`query` finds the endpoint; answered turns arrive there; writing is refused in one line."""
    line.run("send", "--session", "rows", "Hello")
    give_up_s = time.monotonic() + ROW_S
    sql = "SELECT count() AS n FROM turns WHERE session = 'rows' AND reason = 'complete'"
    while json.loads((await asyncio.to_thread(line.run, "query", "--json", sql)).stdout)["n"] in (0, "0"):
        assert time.monotonic() < give_up_s, "the row did not arrive"
    refused = await asyncio.to_thread(line.run, "query", "DROP TABLE turns")

    assert refused.returncode == 1
    assert len(refused.stderr.strip().splitlines()) == 1


def test_S12_rows_on_a_terminal_are_shown_not_obeyed(line: Line) -> None:
    """What somebody stored cannot move the cursor or turn the line."""
    sql = "SELECT concat('a', char(27), '[2Jb', unhex('E280AE'), 'c') AS word"
    terminal, given = pty.openpty()
    command = [sys.executable, "-P", "-m", "tokenwire", "query", sql]
    try:
        code = subprocess.run(command, env=line.environment, stdout=given, timeout=COMMAND_S).returncode
        shown = os.read(terminal, 4_096).decode()
    finally:
        os.close(given)
        os.close(terminal)

    assert code == 0
    assert "a\\x1b[2Jb\\u202ec" in shown
    assert "\x1b" not in shown


def test_S14_readers_token_is_in_its_file_and_nowhere_else(line: Line) -> None:
    """Printed once; no environment, command line, log or other file holds it, also after it was used and misused."""
    token = line.addresses["analytics_token"]
    for password, status in ((token, 200), (f"{token[:-1]}!", 403)):
        query = urlencode({"query": "SELECT 1", "password": password})
        try:
            answered = urllib.request.urlopen(f"{line.addresses['analytics']}/?{query}", timeout=5).status
        except urllib.error.HTTPError as error:
            answered = error.code
            error.close()
        assert answered == status
    assert line.process is not None
    pids = [line.process.pid, *child_ids(line.process.pid)]
    told = [Path(f"/proc/{pid}/{part}").read_bytes() for pid in pids for part in ("environ", "cmdline")]
    files = [path for path in line.folder.rglob("*") if path.is_file() and path.stat().st_size < SCANNED_BYTES_MAX]
    holding = [path for path in files if token[:-1].encode() in path.read_bytes()]

    assert len(pids) >= 7
    assert not any(token.encode() in each for each in told)
    assert holding == [line.folder / "home" / "keys" / "analytics"]
    assert line.folder / "home" / "logs" / "analytics.log" in files


def test_S21_children_are_given_what_is_theirs(line: Line) -> None:
    """Nothing of what stands on no list, and the gateways' secret reaches gateways alone."""
    assert line.process is not None
    told = {}
    for pid in child_ids(line.process.pid):
        told[Path(f"/proc/{pid}/cmdline").read_bytes()] = Path(f"/proc/{pid}/environ").read_bytes()

    assert len(told) >= 5
    assert not any(b"canary-of-somebody" in each for each in told.values())
    assert all((b"canary-of-the-gateways" in each) == (b"\0gateway\0" in command) for command, each in told.items())
    assert any(b"\0gateway\0" in command for command in told)


def test_S21_all_that_is_kept_is_for_its_owner_alone(line: Line) -> None:
    """Whatever the umask: folders, logs, keys, the brokers' and the database's files."""
    home = line.folder / "home"
    kept = [home, *(path for path in home.rglob("*") if not path.is_symlink() and path != home / "cache")]

    assert len(kept) > 20
    assert [path for path in kept if path.lstat().st_mode & 0o077] == []


def test_second_line_in_the_same_folder_is_refused(line: Line) -> None:
    """The sentence names the folder and the setting."""
    told = line.run("up", **PORTS)

    assert told.returncode == 1
    assert "TOKENWIRE_HOME" in told.stderr
    assert len(told.stderr.strip().splitlines()) == 1


def test_stopped_line_starts_again_with_its_data(line: Line) -> None:
    """SIGTERM stops everything in time; after the next start an old prompt_id shows the old answer, unpaid."""
    token = line.addresses["analytics_token"]
    assert line.stop() == 0
    away = line.run("send", "Hello", TOKENWIRE_KAFKA="127.0.0.1:9")
    line.start("--topic-layout", "shared")
    again = line.run("send", "--json", "--session", "s1", "--prompt-id", "p1", "Why is the sky blue?")

    assert away.returncode == 1
    assert json.loads(again.stdout)["reason"] == "complete"
    assert line.calls() == 0
    assert line.addresses["analytics_token"] == token
