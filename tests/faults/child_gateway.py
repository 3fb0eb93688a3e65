"""A gateway in a process of its own over logs in memory: its memory, its files and its death can be seen from outside.

Gateways that are given the same events serve the same log: their cursors are each other's.
"""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from schemas.codec import encode
from schemas.session_events import SessionEvent
from tests.faults.on_uvloop import open_files
from tests.integration.gateway_line import http
from tests.integration.process_probe import resident_mb

__all__ = ["ChildGateway"]

REPOSITORY: Final = Path(__file__).resolve().parents[2]
START_S: Final = 30.0
STOP_S: Final = 10.0


class ChildGateway:
    """The process and its port."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.log = log
        self.port = 0
        self.most_mb = 0.0
        """The most memory that a test has noted."""

    @property
    def url(self) -> str:
        """As `tokenwire.connect` takes it."""
        return f"ws://127.0.0.1:{self.port}/v1/connect"

    @property
    def address(self) -> str:
        """As `ChatClient` takes it."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def resident_mb(self) -> float:
        """Memory that it has in use, in millions of bytes."""
        return resident_mb(self.process.pid)

    def open_files(self) -> int:
        """Files and sockets that it has open."""
        return open_files(self.process.pid)

    def cpu_s(self) -> float:
        """Seconds of processor time that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    async def metric(self, name: str) -> float:
        """One sample of its metrics, by name and labels as they are written there; 0 where there is none."""
        _, text = await http(self.port, "/metrics")
        values = [line.rpartition(" ")[2] for line in text.splitlines() if line.rpartition(" ")[0] == name]
        return float(values[0]) if values else 0.0

    async def append(self, session: str, events: Sequence[SessionEvent]) -> int:
        """Have them put on the log and relayed; the most bytes that it held for all clients meanwhile."""
        wish = {"session": session, "events": [base64.b64encode(encode(event)).decode() for event in events]}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(wish).encode() + b"\n")
        await asyncio.to_thread(self.process.stdin.flush)
        return int(json.loads(await self.line())["held_most"])

    async def line(self) -> bytes:
        """One line of its output."""
        assert self.process.stdout is not None
        line = await asyncio.to_thread(self.process.stdout.readline)
        assert line, self.log.read_text()
        return line

    def kill(self) -> None:
        """End it without a word."""
        self.process.kill()
        self.process.wait(STOP_S)

    @classmethod
    @asynccontextmanager
    async def opened(
        cls,
        home: Path,
        *,
        files: int = 0,
        jwks: Path | None = None,
        limits: dict[str, Any] | None = None,
        outbox: dict[str, Any] | None = None,
        **rules: Any,
    ) -> AsyncIterator[ChildGateway]:
        """Started, with the times and caps of `MemoryGateway.opened`; `files`: beyond those that it has by then."""
        order = {"home": str(home), "files": files, "limits": limits or {}, "outbox": outbox or {}, "rules": rules}
        order["jwks"] = str(jwks or "")
        log = home / "gateway.log"
        process = start(order, log)
        gateway = cls(process, log)
        try:
            async with asyncio.timeout(START_S):
                gateway.port = int(await gateway.line())
            yield gateway
        finally:
            gateway.kill()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()


def start(order: dict[str, Any], log: Path) -> subprocess.Popen[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True)
    arguments = [sys.executable, "-m", "tests.faults.memory_gateway_child", json.dumps(order)]
    with log.open("wb") as errors:
        return subprocess.Popen(arguments, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
