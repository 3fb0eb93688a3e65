"""The client processes, seen from the benchmark: an order goes to all of them, the answers come back together."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from benchmarks.gateway.bare_client import Kind

__all__ = ["ROOT", "ClientFleet", "client_fleet", "module_environment"]

ROOT: Final = Path(__file__).resolve().parents[2]
ANSWER_S_MAX: Final = 600.0
STOP_S_MAX: Final = 20.0
LINE_BYTES_MAX: Final = 2**26


class ClientFleet:
    """Client number `n` lives in process `n % processes`."""

    def __init__(self, processes: list[asyncio.subprocess.Process]) -> None:
        self.processes = processes

    @property
    def pids(self) -> dict[str, int]:
        """By the names that CPU time is shown under."""
        return {f"clients {place + 1}": process.pid for place, process in enumerate(self.processes)}

    async def tell(self, do: str, **order: Any) -> list[dict[str, Any]]:
        """Give all processes an order; their answers."""
        return list(await asyncio.gather(*(self.ask(process, do, order) for process in self.processes)))

    async def ask(self, process: asyncio.subprocess.Process, do: str, order: dict[str, Any]) -> dict[str, Any]:
        assert process.stdin is not None
        assert process.stdout is not None
        place = self.processes.index(process)
        if "file" in order:
            order = order | {"file": f"{order['file']}.{place}"}
        process.stdin.write(json.dumps({"do": do} | order).encode() + b"\n")
        async with asyncio.timeout(ANSWER_S_MAX):
            line = await process.stdout.readline()
        if not line:
            raise SystemExit(f"client process {place + 1} ended; its last words are above")
        told: dict[str, Any] = json.loads(line)
        return told

    async def connect(self, group: str, numbers: range, *, kind: Kind = "normal", **more: Any) -> dict[str, Any]:
        """Attach clients, each in the process it belongs to; what that took."""
        asked = []
        for place, process in enumerate(self.processes):
            own = range(
                numbers.start + (place - numbers.start) % len(self.processes), numbers.stop, len(self.processes)
            )
            order = {"group": group, "kind": kind, "numbers": [own.start, own.stop, own.step]} | more
            asked.append(self.ask(process, "connect", order))
        return together(await asyncio.gather(*asked))

    async def accounts(self, group: str, file: Path | None = None) -> list[dict[str, Any]]:
        """One account a client; with a file, received records go into one of that name for each process."""
        more = {} if file is None else {"file": str(file)}
        told = await self.tell("accounts", group=group, **more)
        return [account for each in told for account in each["accounts"]]

    async def total(self, do: str, name: str, **order: Any) -> int:
        """The sum of one figure of the answers."""
        return sum(each[name] for each in await self.tell(do, **order))


def together(answers: list[dict[str, Any]]) -> dict[str, Any]:
    """The answers of `connect` and `return` as one."""
    recovered: dict[str, int] = {}
    for answer in answers:
        for name, number in answer["recovered"].items():
            recovered[name] = recovered.get(name, 0) + number
    return {
        "asked": sum(each["asked"] for each in answers),
        "attached": sum(each["attached"] for each in answers),
        "tries": sum(each["tries"] for each in answers),
        "seconds": max(each["seconds"] for each in answers),
        "took_s": sorted(took for each in answers for took in each["took_s"]),
        "recovered": recovered,
    }


def module_environment(**more: str) -> dict[str, str]:
    """The environment in which `-m benchmarks.…` finds this checkout, from any folder."""
    return {**os.environ, **more, "PYTHONPATH": str(ROOT)}


@contextlib.asynccontextmanager
async def client_fleet(
    run: str, port: int, processes: int, module: str = "benchmarks.gateway.client_process"
) -> AsyncIterator[ClientFleet]:
    """Start them, stop them at the end."""
    started: list[asyncio.subprocess.Process] = []
    try:
        for _ in range(processes):
            started.append(  # noqa: PERF401  # what was started is stopped, even if the next one fails
                await asyncio.create_subprocess_exec(
                    *(sys.executable, "-P", "-m", module, run, str(port)),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    limit=LINE_BYTES_MAX,
                    env=module_environment(),
                )
            )
        yield ClientFleet(started)
    finally:
        for process in started:
            assert process.stdin is not None
            process.stdin.close()
        for process in started:
            try:
                async with asyncio.timeout(STOP_S_MAX):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
