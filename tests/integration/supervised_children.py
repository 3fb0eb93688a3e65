"""Children for a real supervisor, and a supervisor whose children are all ready."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from infra.embedded.child_spec import ChildSpec
from infra.embedded.supervisor import Supervisor

__all__ = ["WAITING", "child", "running", "said"]

WAITING = "import signal\nwhile True: signal.pause()\n"


def child(name: str, script: str, *arguments: str, **fields: object) -> ChildSpec:
    return ChildSpec(name=name, argv=(sys.executable, "-c", script, *arguments), **fields)  # type: ignore[arg-type]


@asynccontextmanager
async def running(specs: list[ChildSpec], folder: Path, lines: list[str]) -> AsyncIterator[Supervisor]:
    """A supervisor whose children are all ready; stopped at the end."""
    all_ready = asyncio.Event()
    supervisor = Supervisor(specs, logs_folder=folder, say=lines.append, on_all_ready=all_ready.set)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(supervisor.run(handle_signals=False))
        try:
            async with asyncio.timeout(20):
                await all_ready.wait()
            yield supervisor
        finally:
            supervisor.request_stop()


def said(folder: Path, name: str) -> str:
    file = folder / f"{name}.log"
    return file.read_text() if file.exists() else ""
