"""The parts that are measured: a broker, and one gateway on it, each a process, stopped and removed at the end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from benchmarks.gateway.client_fleet import module_environment
from benchmarks.gateway.load import SECRET, key_of
from infra.embedded.broker import EmbeddedBroker
from infra.embedded.broker_jars import jars_folder
from infra.embedded.child_log import read_tail
from infra.embedded.child_process import ChildProcess, start_child
from infra.interpreter_settings import RETURNING_ALLOCATOR
from infra.kafka.session_topics import SessionTopics, SessionTopicsUnavailable
from infra.kafka.topic_admin import ensure_topics
from infra.ports import find_free_port
from infra.settings import Settings, load_settings

__all__ = ["Design", "Ground", "RunningGateway", "measuring_ground", "prepared_topics", "running_gateway"]

Design: TypeAlias = Literal["tokenwire", "plain"]

START_S_MAX: Final = 60.0
STOP_S_MAX: Final = 60.0
HEAP_MB: Final = 1_536
MEMORY_FOLDER: Final = Path("/dev/shm")
"""A file system in memory, on Linux. On a disk ten thousand topics made a minute before hold everything up once for a
second or more, when the file system writes them down; what a gateway then does with 8,000 records at once is no figure
of its own."""
MEMORY_BYTES_MIN: Final = 4 * 2**30
"""Free there, or it is not used."""
TOPICS_AT_ONCE: Final = 500
PREPARE_ATTEMPTS: Final = 5
COMMANDS: Final[dict[Design, tuple[str, ...]]] = {
    "tokenwire": ("tokenwire", "gateway"),
    "plain": ("benchmarks.plain_gateway",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What every gateway of a run stands on."""

    kafka: str
    layout: str
    folder: Path
    broker_pid: int | None

    @property
    def values(self) -> dict[str, str]:
        """Settings of every part."""
        return {
            "TOKENWIRE_KAFKA": self.kafka,
            "TOKENWIRE_HOME": str(self.folder),
            "TOKENWIRE_TOPIC_LAYOUT": self.layout,
            "TOKENWIRE_AUTH_SECRET": SECRET,
            "TOKENWIRE_LOG_LEVEL": "error",
        }

    @property
    def settings(self) -> Settings:
        """The same, read."""
        return load_settings(self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningGateway:
    """One process that relays."""

    process: ChildProcess
    port: int
    design: Design

    @property
    def pid(self) -> int:
        """The process."""
        return self.process.pid


@contextlib.asynccontextmanager
async def measuring_ground(layout: str, kafka: str = "", folder: str = "") -> AsyncIterator[Ground]:
    """A broker of our own, or the one at `kafka`, with the fixed topics, and a temporary folder within `folder`, by
    default in memory where that can be had.
    """
    home = load_settings().home.absolute()
    async with contextlib.AsyncExitStack() as stack:
        within = folder or memory_folder()
        own = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tokenwire-bench-", dir=within)))
        pid = None
        if not kafka:
            broker = EmbeddedBroker(folder=own / "broker", jars_folder=jars_folder(home), heap_mb=HEAP_MB)
            await broker.start()
            stack.push_async_callback(broker.stop)
            kafka, pid = broker.bootstrap_servers, broker.pid
        ground = Ground(kafka=kafka, layout=layout, folder=own, broker_pid=pid)
        await ensure_topics(ground.settings, ground.settings.fixed_topics)
        yield ground


def memory_folder() -> str | None:
    """Where files lie in memory; None: nowhere, or there is no room, or somebody has said where (`TMPDIR`)."""
    if (
        not os.environ.get("TMPDIR")
        and MEMORY_FOLDER.is_dir()
        and shutil.disk_usage(MEMORY_FOLDER).free >= MEMORY_BYTES_MIN
    ):
        return str(MEMORY_FOLDER)
    return None


@contextlib.asynccontextmanager
async def running_gateway(
    ground: Ground, design: Design = "tokenwire", more: Mapping[str, str] | None = None
) -> AsyncIterator[RunningGateway]:
    """One gateway on a free port, ready for clients. `more`: settings of its own."""
    port = find_free_port()
    log_file = ground.folder / f"{design}-{port}.log"
    ours = RETURNING_ALLOCATOR if design == "tokenwire" else {}
    environment = module_environment(**ground.values, **ours, TOKENWIRE_GATEWAY_PORT=str(port), **(more or {}))
    argv = (sys.executable, "-P", "-m", *COMMANDS[design])
    process = await start_child(argv, log_file=log_file, environment=environment, working_folder=ground.folder)
    try:
        await until_listening(process, port, log_file)
        yield RunningGateway(process=process, port=port, design=design)
        if process.exit_code is not None:
            raise SystemExit(f"the {design} gateway ended by itself ({process.exit_code}):\n{read_tail(log_file)}")
    finally:
        await asyncio.shield(process.stop(STOP_S_MAX))


async def until_listening(process: ChildProcess, port: int, log_file: Path) -> None:
    async with asyncio.timeout(START_S_MAX):
        while True:
            if process.exit_code is not None:
                raise SystemExit(f"the gateway did not start:\n{read_tail(log_file)}")
            with contextlib.suppress(ConnectionError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.1)


async def prepared_topics(ground: Ground, run: str, numbers: range) -> None:
    """In the dedicated layout each session has a topic: made ahead, as it is not what is measured."""
    topics = SessionTopics(ground.settings)
    await topics.start()
    try:
        for first in range(numbers.start, numbers.stop, TOPICS_AT_ONCE):
            some = range(first, min(numbers.stop, first + TOPICS_AT_ONCE))
            for attempt in range(PREPARE_ATTEMPTS):
                try:
                    await asyncio.gather(*(topics.ensure(key_of(run, number)) for number in some))
                    break
                except SessionTopicsUnavailable:  # the broker is far behind with telling of what it made
                    if attempt == PREPARE_ATTEMPTS - 1:
                        raise
    finally:
        await topics.stop()
