"""An endless answer at full speed into a client that reads 1 KB/s: neither worker nor gateway grows with it.

In the default mode, where the answer goes at its provider's pace and the log serves the client.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from producers.sdk import Receipt
from schemas.client_messages import Attach, Hello, Prompt
from schemas.identifiers import PromptId, SessionId, UserId, turn_id_of
from tests.faults.slow_socket import SlowSocket
from tests.integration.gateway_line import SECRET, token_for
from tests.integration.worker_line import WorkerLine

TOKENS = 100_000
WARM_TOKENS = 2_000
GROWTH_MB_MAX = 20.0
READ_BYTES_PER_S = 1_024
ANSWER_S = 60.0 + TOKENS / 2_000
SAMPLE_S = 0.1
REPOSITORY = Path(__file__).resolve().parents[2]
USER = "reader"
SESSION = "endless"


def resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Growth:
    """How much processes have grown since a moment, at their largest."""

    def __init__(self, **pids: int) -> None:
        self.pids = pids
        self.before = {name: resident_mb(pid) for name, pid in pids.items()}
        self.most = dict(self.before)

    async def sample(self) -> None:
        while True:
            for name, pid in self.pids.items():
                self.most[name] = max(self.most[name], resident_mb(pid))
            await asyncio.sleep(SAMPLE_S)

    @property
    def grown_mb(self) -> dict[str, float]:
        return {name: round(self.most[name] - before, 1) for name, before in self.before.items()}


def start_gateway(line: WorkerLine) -> subprocess.Popen[bytes]:
    """A gateway as a process; it prints its port."""
    settings = {
        "kafka": line.settings.kafka,
        "home": str(line.folder / "gateway"),
        "gateway_port": 0,
        "auth_secret": SECRET,
        "cursor_secret": SECRET[::-1],
    }
    arguments = [sys.executable, "-m", "tests.integration.gateway_child", msgspec.json.encode(settings).decode()]
    with (line.folder / "gateway.log").open("wb") as log:
        return subprocess.Popen(arguments, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=log)


@asynccontextmanager
async def gateway_process(line: WorkerLine) -> AsyncIterator[tuple[int, int]]:
    """A gateway's process id and port."""
    process = start_gateway(line)
    assert process.stdout is not None
    try:
        port = (await asyncio.to_thread(process.stdout.readline)).strip()
        assert port, (line.folder / "gateway.log").read_text()
        yield process.pid, int(port)
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 20)
        process.stdout.close()


def receipt_of(session: str, prompt_id: str) -> Receipt:
    turn = turn_id_of(UserId(USER), SessionId(session), PromptId(prompt_id))
    return Receipt(USER, session, prompt_id, turn, "", 0, 0)


@pytest.mark.timeout(120 + 2 * ANSWER_S)
async def test_endless_answer_into_a_slow_client_grows_nobody(line: WorkerLine) -> None:
    """By 20 MB at most, and the answer is whole on the log."""
    worker = line.start_worker()
    warm = await line.producer.submit(f"[[sim first_ms=0 pace_ms=0 tokens={WARM_TOKENS}]] Warm up", user=USER)
    await line.ended(warm)
    receipt = receipt_of(SESSION, "p1")
    words = f"[[sim first_ms=0 pace_ms=0 tokens={TOKENS}]] Go on"
    async with gateway_process(line) as (gateway_pid, port), SlowSocket.connected(port) as client:
        for message in (Hello(token=token_for(USER)), Attach(session=SESSION, from_="tail")):
            await client.send(message)
        growth = Growth(worker=worker.pid, gateway=gateway_pid)
        async with asyncio.TaskGroup() as group:
            helpers = [
                group.create_task(growth.sample()),
                group.create_task(client.read_slowly(READ_BYTES_PER_S)),
            ]
            await client.send(Prompt(session=SESSION, prompt_id="p1", input=words, max_tokens=TOKENS))
            await until_ended(line, receipt)
            for helper in helpers:
                helper.cancel()
        turn = await line.turn(receipt)
    assert turn is not None
    assert turn.ended is not None
    told = f"{turn.next_seq} tokens on the log, {client.read_bytes} bytes read, grown MB {growth.grown_mb}"
    print(told)  # noqa: T201  # the figures are what it is run for
    assert (turn.ended.reason, turn.next_seq) == ("complete", TOKENS)
    assert max(growth.grown_mb.values()) <= GROWTH_MB_MAX, told


async def until_ended(line: WorkerLine, receipt: Receipt) -> None:
    """Wait for the turn's end; looked at seldom, as the log is long."""
    async with asyncio.timeout(ANSWER_S):
        while True:
            turn = await line.turn(receipt)
            if turn is not None and turn.ended is not None:
                return
            await asyncio.sleep(1.0)
