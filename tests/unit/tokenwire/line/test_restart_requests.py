"""Asking a line to restart its children: who is meant, who may ask, what is said when it can't be done.

Covers: tokenwire.commands.restart.
"""

from __future__ import annotations

import asyncio
import stat
import sys
import tempfile
from pathlib import Path

import pytest

from infra.embedded.child_spec import ChildSpec
from infra.embedded.supervisor import Supervisor
from tokenwire.commands.restart import follow_restart
from tokenwire.line.restart_requests import (
    NothingToRestart,
    RestartDone,
    RestartReply,
    RestartStep,
    ask_restart,
    restart_names,
    serve_restarts,
)

CHILDREN = ("kafka", "provider", "analytics", "worker-1", "worker-2", "gateway-1", "gateway-2")
WAITING = (sys.executable, "-c", "import signal\nwhile True: signal.pause()\n")


def test_kinds_and_names() -> None:
    """A kind is all of it in order, alone or numbered; a name is itself."""
    assert restart_names("gateways", CHILDREN) == ("gateway-1", "gateway-2")
    assert restart_names("workers", CHILDREN) == ("worker-1", "worker-2")
    assert restart_names("worker-2", CHILDREN) == ("worker-2",)
    assert restart_names("gateways", ("kafka", "worker", "gateway")) == ("gateway",)


@pytest.mark.parametrize("what", ["kafka", "gateway-3", "", "gateway"])
def test_what_can_not_be_restarted(what: str) -> None:
    """The sentence lists what can."""
    with pytest.raises(NothingToRestart, match="gateways, workers, worker-1, worker-2, gateway-1, gateway-2"):
        restart_names(what, CHILDREN)


async def test_no_line_runs(tmp_path: Path) -> None:
    """One sentence with the folder and the setting."""
    with pytest.raises(NothingToRestart, match="TOKENWIRE_HOME"):
        await follow_restart(tmp_path, "gateways", as_json=False)


async def test_line_that_has_gone(tmp_path: Path) -> None:
    """Its socket answers nobody."""
    with pytest.raises(NothingToRestart, match="does not answer"):
        await replies_to(str(tmp_path / "run.sock"), "gateways")


@pytest.mark.parametrize(
    ("folder", "temporary"),
    [("home", ""), ("a" * 120, ""), ("a" * 120, "b" * 90)],
    ids=["short", "too_long_for_a_socket", "temporary_files_too"],
)
async def test_children_are_restarted_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, temporary: str
) -> None:
    """Steps and then the end; meanwhile a second wish is refused; the socket is its owner's and goes with the line."""
    home, ready = tmp_path / folder, asyncio.Event()
    home.mkdir()
    if temporary:
        (tmp_path / temporary).mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / temporary))
    specs = [ChildSpec(name=name, argv=WAITING) for name in ("gateway-1", "gateway-2")]
    supervisor = Supervisor(specs, logs_folder=tmp_path, say=lambda _: None, on_all_ready=ready.set)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(supervisor.run(handle_signals=False))
        async with asyncio.timeout(15), serve_restarts(supervisor, [spec.name for spec in specs], home) as path:
            await ready.wait()
            mode = mode_of(path)
            asking = ask_restart(path, "gateways")
            told: list[RestartReply] = [await anext(asking)]
            with pytest.raises(NothingToRestart, match="under way"):
                await replies_to(path, "gateways")
            told += [reply async for reply in asking]
            supervisor.request_stop()

    assert mode == 0o600
    assert mode_of(path) is None
    assert [step.stage for step in told if isinstance(step, RestartStep)] == [
        "stopping",
        "stopped",
        "starting",
        "ready",
    ] * 2
    assert isinstance(told[-1], RestartDone)
    assert told[-1].names == ("gateway-1", "gateway-2")


async def replies_to(path: str, what: str) -> list[RestartReply]:
    return [reply async for reply in ask_restart(path, what)]


def mode_of(path: str) -> int | None:
    """Who may open it; None: it is not there."""
    return stat.S_IMODE(Path(path).stat().st_mode) if Path(path).exists() else None
