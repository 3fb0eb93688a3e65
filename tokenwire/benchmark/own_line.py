"""A line of the benchmark's own: `tokenwire up` on free ports in a temporary folder, removed at the end.

Only the broker's jars are shared with the user's own folder, so that nothing is downloaded twice. The environment's
settings do not reach it: two runs on one machine measure the same line.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from infra.embedded.broker_jars import jars_folder, resolve_broker_jars_async
from infra.embedded.child_log import read_tail
from infra.embedded.child_process import ChildProcess, start_child
from infra.embedded.decisions.child_environment import program_environment
from infra.settings import Settings, load_settings
from tokenwire.line.jars_progress import show_jars_progress
from tokenwire.line.page_token import issue_page_token
from tokenwire.line.running_line import RunningLine, running_line

__all__ = ["LineNotStarted", "OwnLine", "own_line"]

READY_S_MAX: Final = 180.0
POLL_S: Final = 0.1
STOP_S_MAX: Final = 20.0
TOKEN_S: Final = 24 * 3_600.0
CONNECT_PATH: Final = "/v1/connect"
PORT_SETTINGS: Final = tuple(
    f"TOKENWIRE_{part}_PORT" for part in ("KAFKA", "GATEWAY", "PROVIDER", "ANALYTICS", "METRICS")
)


class LineNotStarted(Exception):
    """The line did not come up. The sentence ends in its last words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnLine:
    """Where its parts are."""

    pid: int
    """The supervisor's."""
    settings: Settings
    line: RunningLine

    @property
    def websocket(self) -> str:
        """Where clients connect."""
        return f"ws://{urlsplit(self.line.page).netloc}{CONNECT_PATH}"

    def token_for(self, user: str) -> str:
        """An access token that its gateway accepts."""
        return issue_page_token(self.settings, user, ttl_s=TOKEN_S, now_s=time.time())


@asynccontextmanager
async def own_line(home: Path, layout: str) -> AsyncIterator[OwnLine]:
    """Start, wait until it is ready, stop and remove. `home`: whose jars are used, absolute.

    Raises LineNotStarted.

    Cancellation: the line is stopped and its folder removed.
    """
    jars = jars_folder(home)
    await resolve_broker_jars_async(jars, show_jars_progress)
    folder = Path(tempfile.mkdtemp(prefix="tokenwire-bench-"))
    try:
        own_jars = jars_folder(folder)
        own_jars.parent.mkdir(parents=True)
        own_jars.symlink_to(jars)
        log_file = folder / "up.log"
        argv = (sys.executable, "-P", "-m", "tokenwire", "up", "--topic-layout", layout)
        child = await start_child(argv, log_file=log_file, environment=environment_of(folder), working_folder=folder)
        try:
            line = await until_ready(child, folder, log_file)
            settings = load_settings({**line.environment})
            yield OwnLine(pid=child.pid, settings=settings, line=line)
        finally:
            await asyncio.shield(child.stop(STOP_S_MAX))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def environment_of(folder: Path) -> dict[str, str]:
    return program_environment(os.environ) | {"TOKENWIRE_HOME": str(folder)} | dict.fromkeys(PORT_SETTINGS, "0")


async def until_ready(child: ChildProcess, folder: Path, log_file: Path) -> RunningLine:
    loop = asyncio.get_running_loop()
    give_up_s = loop.time() + READY_S_MAX
    while (line := running_line(folder)) is None:
        if child.exit_code is not None or loop.time() > give_up_s:
            raise LineNotStarted(f"the line to measure did not start; its last words:\n{read_tail(log_file)}")
        await asyncio.sleep(POLL_S)
    return line
