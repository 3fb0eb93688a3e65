"""A gateway of its own process on a line with workers, and prompts that its clients send."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from infra.simulated_provider.call_log import Call
from producers.sdk import Receipt
from schemas.identifiers import PromptId, SessionId, UserId, turn_id_of
from tests.integration.gateway_line import SECRET
from tests.integration.worker_line import WorkerLine

__all__ = ["LineGateway", "call_of", "gateway_process", "receipt_of", "until_still"]

REPOSITORY = Path(__file__).resolve().parents[2]
STOP_S = 20.0
LOOK_EVERY_S = 0.1


class LineGateway:
    """The process and the port that it listens on."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port

    def kill(self) -> None:
        """End it without a word."""
        self.process.kill()
        self.process.wait(STOP_S)


@asynccontextmanager
async def gateway_process(line: WorkerLine) -> AsyncIterator[LineGateway]:
    """A gateway on the line's broker; ended with the context."""
    process = start_gateway(line)
    assert process.stdout is not None
    try:
        port = (await asyncio.to_thread(process.stdout.readline)).strip()
        assert port, (line.folder / "gateway.log").read_text()
        yield LineGateway(process, int(port))
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, STOP_S)
        process.stdout.close()


def start_gateway(line: WorkerLine) -> subprocess.Popen[bytes]:
    """It prints its port."""
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


def receipt_of(user: str, session: str, prompt_id: str) -> Receipt:
    """What the SDK would have given for a prompt that a client sent."""
    turn = turn_id_of(UserId(user), SessionId(session), PromptId(prompt_id))
    return Receipt(user, session, prompt_id, turn, "", 0, 0)


def call_of(line: WorkerLine, words: str) -> Call:
    """The one call for a prompt (without its directive)."""
    (call,) = line.provider.call_log.for_prompt(words)
    return call


async def until_still(line: WorkerLine, words: str, still_s: float, deadline_s: float = 60.0) -> Call:
    """Wait until the provider's one call for a prompt is open and could send nothing for so long."""
    async with asyncio.timeout(deadline_s):
        while not line.provider.call_log.for_prompt(words):  # noqa: ASYNC110  # seen from the provider's side
            await asyncio.sleep(LOOK_EVERY_S)
        call, sent, looks = call_of(line, words), -1, 0
        while looks < still_s / LOOK_EVERY_S:
            looks = looks + 1 if call.tokens_sent == sent > 0 else 0
            sent = call.tokens_sent
            await asyncio.sleep(LOOK_EVERY_S)
    assert call.state == "running", call
    return call
