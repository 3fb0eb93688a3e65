"""The supervisor with real children: order, restarts, giving up, stopping, dying."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from infra.embedded.decisions.restart_policy import RestartPolicy
from infra.embedded.rolling_restart import Step, replace_in_turn, restart_in_turn
from infra.embedded.supervisor import NotStarted, Supervisor
from infra.ports import find_free_port
from tests.integration.process_probe import is_alive, run_script, until, wait_for_line
from tests.integration.supervised_children import WAITING, child, running

STOPPED_S_MAX = 5.0


STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('deaf', flush=True)\n" + WAITING


FAILING = "raise SystemExit('the reason of the failure')"


WEB_SERVER = """
import http.server, sys
http.server.test(http.server.SimpleHTTPRequestHandler, port=int(sys.argv[1]), bind="127.0.0.1")
"""


NOTING = """
import signal, sys
def end(*_):
    with open(sys.argv[1], "a") as file:
        file.write(sys.argv[2])
    sys.exit()
signal.signal(signal.SIGTERM, end)
print("up", flush=True)
while True: signal.pause()
"""


SLOW_TO_END = """
import signal, sys, time
def end(*_):
    time.sleep(float(sys.argv[1]))
    print("ended", flush=True)
    sys.exit()
signal.signal(signal.SIGTERM, end)
print("up", flush=True)
while True: signal.pause()
"""


OWNER = """
import asyncio, sys
from pathlib import Path
from infra.embedded.child_spec import ChildSpec
from infra.embedded.supervisor import Supervisor

child = (sys.executable, "-c", sys.argv[2])
specs = [ChildSpec(name="first", argv=child), ChildSpec(name="second", argv=child, depends_on=("first",))]

async def main():
    supervisor = Supervisor(specs, logs_folder=Path(sys.argv[1]), say=lambda line: print(line, flush=True),
        on_all_ready=lambda: print("pids", supervisor.pid_of("first"), supervisor.pid_of("second"), flush=True))
    return await supervisor.run()

sys.exit(asyncio.run(main()))
"""


async def test_child_is_killed(tmp_path: Path) -> None:
    """It is started again within a second, alone, and the line says what happened."""
    lines: list[str] = []
    async with running([child("one", WAITING), child("two", WAITING)], tmp_path, lines) as supervisor:
        first, other = supervisor.pid_of("one"), supervisor.pid_of("two")
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: supervisor.pid_of("one") not in (None, first))

        assert supervisor.pid_of("two") == other
    assert "one was ended by SIGKILL; restarting in 0.5 s" in lines
    assert lines[-1].endswith("restarted: one 1×")


async def test_child_needs_another(tmp_path: Path) -> None:
    """It starts only when the page of the other one answers, and stops before it."""
    lines: list[str] = []
    port = find_free_port()
    server = child("server", WEB_SERVER, str(port), ready=f"http://127.0.0.1:{port}/")
    async with running([server, child("client", WAITING, depends_on=("server",))], tmp_path, lines):
        assert [line.split()[0] for line in lines] == ["server", "client"]


async def test_dependents_stop_first(tmp_path: Path) -> None:
    """A child gets its SIGTERM only after the one that needs it has ended."""
    order = tmp_path / "order"
    lines: list[str] = []

    def is_up(name: str) -> bool:
        return (tmp_path / f"{name}.log").read_text() == "up\n"

    specs = [
        child("base", NOTING, str(order), "base "),
        child("top", NOTING, str(order), "top ", depends_on=("base",)),
    ]
    async with running(specs, tmp_path, lines):
        await until(lambda: is_up("base") and is_up("top"))

    assert order.read_text() == "top base "


async def test_child_that_never_works(tmp_path: Path) -> None:
    """It is given up after a few tries, everything stops, and its last words are shown."""
    lines: list[str] = []
    policy = RestartPolicy(pause_first_s=0.05)

    async def never() -> bool:
        return False

    specs = [child("good", WAITING), child("bad", FAILING, ready=never)]
    async with asyncio.timeout(20):
        code = await Supervisor(specs, logs_folder=tmp_path, say=lines.append, policy=policy).run(handle_signals=False)

    assert code == 1
    assert any(line.startswith("bad exited with code 1; restarting in") for line in lines)
    last_words = next(line for line in lines if "giving up" in line)
    assert "the reason of the failure" in last_words
    assert lines[-1].startswith("stopped 2 processes")


async def test_child_that_the_others_can_do_without(tmp_path: Path) -> None:
    """It fails for ever: the others are ready without it and run on, and it is tried again and again."""
    lines: list[str] = []
    all_ready = asyncio.Event()
    policy = RestartPolicy(pause_first_s=0.01, pause_max_s=0.01)

    async def never() -> bool:
        return False

    specs = [child("good", WAITING), child("bad", FAILING, ready=never, dispensable=True)]
    supervisor = Supervisor(specs, logs_folder=tmp_path, say=lines.append, on_all_ready=all_ready.set, policy=policy)
    running = asyncio.create_task(supervisor.run(handle_signals=False))
    await asyncio.wait_for(all_ready.wait(), 20)
    await until(lambda: sum(line.startswith("bad exited") for line in lines) > policy.starts_before_ready_max)
    goes_on = supervisor.is_ready("good")
    supervisor.request_stop()

    assert goes_on
    assert await running == 0


async def test_child_that_ignores_sigterm(tmp_path: Path) -> None:
    """It is killed at its deadline, and the summary says so."""
    lines: list[str] = []
    async with running([child("deaf", STUBBORN, stop_deadline_s=0.2)], tmp_path, lines):
        await until(lambda: (tmp_path / "deaf.log").read_text() == "deaf\n")
        started_s = time.monotonic()

    assert time.monotonic() - started_s < STOPPED_S_MAX
    assert "deaf did not stop in time and was killed" in lines
    assert "killed: deaf" in lines[-1]


async def test_each_has_its_own_time_to_stop(tmp_path: Path) -> None:
    """The second one's time is not cut by what the first one used of its own."""
    lines: list[str] = []
    specs = [
        child("base", SLOW_TO_END, "0.6", stop_deadline_s=3.0),
        child("top", SLOW_TO_END, "0.6", stop_deadline_s=3.0, depends_on=("base",)),
    ]
    async with running(specs, tmp_path, lines):
        await until(lambda: all("up" in (tmp_path / f"{name}.log").read_text() for name in ("base", "top")))

    assert "stopping 2 processes, within 6 s" in lines
    assert "killed" not in lines[-1]
    assert all("ended" in (tmp_path / f"{name}.log").read_text() for name in ("base", "top"))


async def test_child_is_stopped_and_started_alone(tmp_path: Path) -> None:
    """It stays down until it is asked for, is no failure, and the one that needs it runs on."""
    lines: list[str] = []
    specs = [child("base", WAITING), child("top", WAITING, depends_on=("base",))]
    async with running(specs, tmp_path, lines) as supervisor:
        first, other = supervisor.pid_of("base"), supervisor.pid_of("top")
        in_time = await supervisor.stop("base")
        assert supervisor.pid_of("base") is None
        await supervisor.start("base")

        assert in_time
        assert supervisor.pid_of("base") not in (None, first)
        assert supervisor.pid_of("top") == other
    assert not any("restarting" in line or "killed" in line for line in lines)
    assert "restarted" not in lines[-1]


async def test_children_restarted_in_turn(tmp_path: Path) -> None:
    """One is down at a time; whoever does not stop is killed and said to be."""
    lines: list[str] = []
    specs = [child("one", WAITING), child("two", STUBBORN, stop_deadline_s=0.2)]
    async with running(specs, tmp_path, lines) as supervisor:
        await until(lambda: (tmp_path / "two.log").read_text() == "deaf\n")
        before = {name: supervisor.pid_of(name) for name in ("one", "two")}
        steps: list[Step] = []
        async for step in restart_in_turn(supervisor, ["one", "two"]):
            steps.append(step)
            assert all(supervisor.is_ready(name) for name in ("one", "two") if name != step.name)
        after = {name: supervisor.pid_of(name) for name in ("one", "two")}

    stages = [(step.name, step.stage) for step in steps]
    every = ("stopping", "stopped", "starting", "ready")
    assert stages == [(name, stage) for name in ("one", "two") for stage in every]
    assert [step.killed for step in steps if step.stage == "stopped"] == [False, True]
    assert all(after[name] not in (None, before[name]) for name in before)


async def test_children_replaced_by_successors(tmp_path: Path) -> None:
    """The spare place is used first, so as many as before are ready at every moment; one place is free at the end."""
    lines: list[str] = []
    names = ("one", "two", "three")
    specs = [child("one", WAITING), child("two", WAITING), child("three", WAITING, spare=True)]
    async with running(specs, tmp_path, lines) as supervisor:
        assert supervisor.pid_of("three") is None
        old = {supervisor.pid_of(name) for name in ("one", "two")}
        ready_min = 3
        async for _ in replace_in_turn(supervisor, ["one", "two"], "three"):
            ready_min = min(ready_min, sum(map(supervisor.is_ready, names)))
        new = {name: supervisor.pid_of(name) for name in names}

    assert ready_min == 2
    assert new["two"] is None
    assert not {new["one"], new["three"]} & {None, *old}
    assert lines[-1].startswith("stopped 2 processes")


async def test_successor_that_does_not_come(tmp_path: Path) -> None:
    """The rest is left as it is, and the error names the child and its log."""
    lines: list[str] = []
    switch = tmp_path / "works"
    switch.touch()

    async def works() -> bool:
        return switch.exists()

    specs = [child("one", WAITING, ready=works, ready_deadline_s=0.5), child("two", WAITING)]
    async with running(specs, tmp_path, lines) as supervisor:
        other = supervisor.pid_of("two")
        switch.unlink()
        with pytest.raises(NotStarted, match=r"one is not ready: see .*one\.log"):
            async for _ in restart_in_turn(supervisor, ["one", "two"]):
                pass

        assert supervisor.pid_of("two") == other


async def test_child_that_is_never_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it starts, that is said now and then. At its deadline it is killed and counts as failed."""
    monkeypatch.setattr("infra.embedded.supervisor.TOLD_EVERY_S", 0.05)
    lines: list[str] = []

    async def never() -> bool:
        return False

    specs = [child("slow", WAITING, ready=never, ready_deadline_s=0.2)]
    policy = RestartPolicy(pause_first_s=0.01)
    async with asyncio.timeout(20):
        code = await Supervisor(specs, logs_folder=tmp_path, say=lines.append, policy=policy).run(handle_signals=False)

    assert code == 1
    assert lines[0] == f"slow still starts, 0 s of at most 0; see {tmp_path / 'slow.log'}"
    assert any(line.startswith("slow was not ready after 0.2 s") for line in lines)


async def test_supervisor_is_killed(tmp_path: Path) -> None:
    """No child outlives it."""
    owner = await run_script(OWNER, str(tmp_path), STUBBORN)
    pids = [int(pid) for pid in (await wait_for_line(owner, "pids")).split()[1:]]
    assert all(is_alive(pid) for pid in pids)
    owner.kill()
    await owner.wait()

    await until(lambda: not any(is_alive(pid) for pid in pids))


async def test_supervisor_gets_ctrl_c(tmp_path: Path) -> None:
    """It stops its children, says so in one line, and exits with 0."""
    owner = await run_script(OWNER, str(tmp_path), WAITING)
    pids = [int(pid) for pid in (await wait_for_line(owner, "pids")).split()[1:]]
    owner.send_signal(signal.SIGINT)
    summary = await wait_for_line(owner, "stopped 2 processes in")
    code = await owner.wait()

    assert code == 0
    assert "killed" not in summary
    assert not any(is_alive(pid) for pid in pids)
