"""A gateway over logs in memory, in a process that has few files. Arguments: home, files, sockets accepted."""

from __future__ import annotations

import asyncio
import os
import resource
import sys
from pathlib import Path

import uvloop

from tests.faults.memory_gateway import MemoryGateway

__all__: list[str] = []


async def serve(home: Path, files: int, accepted_max: int) -> None:
    async with MemoryGateway.opened(home, limits={"accepted_max": accepted_max}) as gateway:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        used = len(os.listdir("/proc/self/fd"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + files, hard))
        print(gateway.port, flush=True)  # noqa: T201  # the parent reads it
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
