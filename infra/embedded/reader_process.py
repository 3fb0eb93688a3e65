"""The process `tokenwire reader`: it answers read-only queries on what `tokenwire analytics` keeps in its own engine.

Whoever may ask queries makes an engine of many features do what they say. So that engine is not where anything of value
is: this process has no Kafka, no secret (of the readers' token it knows a hash), and does not own what it reads. Where
the system can hold it to that, it is held to it (`infra/confinement.py`), before the first query and for good: it
writes its own folder, reads that, the writer's parts and what Python and the engine are made of, starts no program and
opens no connection. What the list of allowed names lets through by a mistake stops there, and the other way round.

Its end harms nobody: the writer goes on, and another one is ready in a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import structlog

import infra
import schemas
from infra.clickhouse.decisions.reader_tables import ReadersNotice
from infra.clickhouse.embedded_reader import EmbeddedReader, ReaderLimits
from infra.clickhouse.errors import ClickHouseUnavailable
from infra.clickhouse.reader_engine import ReaderEngine, reader_engine
from infra.clickhouse.readers_notice import NoticeFile
from infra.confinement import Confinement, confine
from infra.embedded.clickhouse_http import ClickHouseEndpoint
from infra.embedded_parts import EmbeddedPart, require_embedded
from infra.host_names import known_names
from infra.settings import Settings
from infra.stop_signals import heed_signals

__all__ = ["confine_reader", "run_reader"]

log = structlog.get_logger(__name__)

NOTICE_PAUSE_S: Final = 0.2
WARM_AFTER_S: Final = 15.0
LAST_WORDS_S: Final = 0.5
"""For the answer that says why this process ends."""
SYSTEM_PATHS: Final = (
    "/usr/share/zoneinfo",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/dev/urandom",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/self/auxv",
    "/proc/self/maps",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/sys/fs/cgroup",
    "/sys/kernel/mm/transparent_hugepage",
)
"""Time zones, randomness, what says how large the machine is; to load the engine, its own memory map, and the vector
that the kernel handed it. Without that the engine looks for the vector behind the environment, where anything may lie
once Python has moved it: one start in ten then ended by SIGSEGV."""


async def run_reader(
    settings: Settings, on_ready: Callable[[int], None] | None = None, *, stopping: asyncio.Event | None = None
) -> None:
    """Answer queries until SIGTERM, SIGINT or `stopping`. `on_ready` hears the port.

    Waits for the writer's notice first. The process can do little else afterwards: run it in one of its own.
    Raises EmbeddedPartsMissing, DataFolderInUse, PortTaken.
    Cancellation: everything is stopped as by a signal.
    """
    require_embedded(EmbeddedPart.ENGINE)
    stop = stopping or asyncio.Event()
    heed_signals(stop)
    notice = NoticeFile(settings.home)
    told = await first_notice(notice, stop)
    if told is None:
        return
    with serving_engine(settings, notice, stop) as engine:
        limits = ReaderLimits(query_s_max=settings.analytics_query_s)
        reader = EmbeddedReader(engine.files, limits, engine.bring_up)
        endpoint = ClickHouseEndpoint(
            reader,
            settings.analytics_port,
            lambda: newest(notice).token_sha256,
            known_names(settings.allowed_hosts),
            is_well=lambda: not engine.fault,
        )
        endpoint.listen()
        engine.look_at(told.store)
        say_confined(confine_reader(settings.home, told.store))
        try:
            port = await endpoint.start()
            log.info("reader_ready", port=port)
            if on_ready is not None:
                on_ready(port)
            await warmed_up(engine, stop)
            await stop.wait()
            log.info("reader_stopping")
        finally:
            await endpoint.stop()


async def warmed_up(engine: ReaderEngine, stop: asyncio.Event) -> None:
    """Open the engine soon, unless a query has: not while a whole line starts, and before somebody waits for it."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), WARM_AFTER_S)
    if not stop.is_set():
        with contextlib.suppress(ClickHouseUnavailable):  # whoever asks hears of it, and the log has it
            await asyncio.to_thread(engine.bring_up)


async def first_notice(notice: NoticeFile, stop: asyncio.Event) -> ReadersNotice | None:
    """What the writer has told, once it has; None when told to stop first."""
    if notice.current() is None:
        log.info("tables_awaited", message="queries are answered once `tokenwire analytics` has made its tables")
    while not stop.is_set():
        told = notice.current()
        if told is not None:
            return told
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), NOTICE_PAUSE_S)
    return None


def newest(notice: NoticeFile) -> ReadersNotice:
    told = notice.current()
    assert told is not None, "waited for at the start, and never forgotten"
    return told


@contextlib.contextmanager
def serving_engine(settings: Settings, notice: NoticeFile, stop: asyncio.Event) -> Iterator[ReaderEngine]:
    loop = asyncio.get_running_loop()

    def start_again() -> None:
        loop.call_soon_threadsafe(loop.call_later, LAST_WORDS_S, stop.set)

    query_s_max = settings.analytics_query_s
    with reader_engine(settings.home, notice, query_s_max=query_s_max, on_other_store=start_again) as engine:
        yield engine


def confine_reader(home: Path, store: str) -> Confinement:
    """Leave this process its own folder to write, and to read what it needs."""
    own = home.resolve() / "reader"
    needed = {*SYSTEM_PATHS, *code_folders(), *library_folders(), store, str(home.resolve() / "clickhouse-config")}
    return confine(read=map(Path, needed), write=(own,))


def code_folders() -> set[str]:
    """Of Python, of the packages beside the engine, and of ours: each of ours by itself, since a line's folder may lie
    beside them."""
    engine = importlib.util.find_spec("chdb")
    assert engine is not None, "required before"
    assert engine.origin is not None, "a package with a file"
    python = {f"{sys.base_prefix}/lib", *map(sysconfig.get_path, ("stdlib", "platstdlib"))}
    return (
        python | {str(Path(engine.origin).parents[1])} | {path for each in (infra, schemas) for path in each.__path__}
    )


def library_folders() -> set[str]:
    """Where the libraries lie that are loaded already: what the engine loads is beside them, wherever that is."""
    maps = Path("/proc/self/maps")
    lines = maps.read_text(encoding="utf-8").splitlines() if maps.exists() else []
    paths = (Path(line.split(maxsplit=5)[-1]) for line in lines)
    return {str(path.parent) for path in paths if ".so" in path.name}


def say_confined(confinement: Confinement) -> None:
    if confinement.lacking:
        log.warning("reader_not_confined", message=confinement.lacking, landlock=confinement.version)
    else:
        log.info("reader_confined", landlock=confinement.version)
