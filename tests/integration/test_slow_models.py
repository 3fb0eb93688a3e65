"""Models on somebody's own machine, with default settings on a real line: loaded late, started late, without a name."""

from __future__ import annotations

import asyncio
from pathlib import Path

from infra.embedded.broker import EmbeddedBroker
from infra.ports import find_free_port
from infra.simulated_provider.server import SimulatedProvider
from producers.sdk import Receipt
from schemas.session_events import TurnWaiting
from tests.integration.worker_line import PACE, POLL_S, WorkerLine, answer_text, open_line

__all__: list[str] = []

LOADS_S = 7
"""Longer than a call is kept where another target stands by."""


async def told(line: WorkerLine, receipt: Receipt) -> list[str]:
    """What the session was told that the turn waits for."""
    events = [event for _, event in await line.events(receipt.user, receipt.session)]
    return [event.waits_for for event in events if isinstance(event, TurnWaiting)]


async def test_server_that_loads_its_model_for_the_first_call(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """It is called once and answers; the session hears why nothing comes meanwhile."""
    async with open_line(broker, tmp_path) as line:
        line.start_worker()
        prompt = f"[[sim fault=late_headers:{LOADS_S}]] slow"
        receipt = await line.producer.submit(prompt, user="local", session="slow")
        turn = await line.ended(receipt, deadline_s=90)

        assert turn.ended is not None
        assert (turn.ended.reason, turn.attempt, turn.text) == ("complete", 1, answer_text("slow"))
        assert len(line.provider.calls) == 1
        assert await told(line, receipt) == ["answer"]


async def test_server_that_is_started_after_the_prompt(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """The prompt waits for it, the server is asked what it has, and its own model answers; one attempt in all."""
    port = find_free_port()
    async with open_line(broker, tmp_path, provider_url=f"http://127.0.0.1:{port}/v1", model="") as line:
        line.start_worker()
        receipt = await line.producer.submit("you there?", user="local", session="late")
        async with asyncio.timeout(90):
            while await told(line, receipt) != ["server"]:  # noqa: ASYNC110  # a log is read, not an event awaited
                await asyncio.sleep(POLL_S)
        async with SimulatedProvider(port=port, behaviour=PACE) as server:
            turn = await line.ended(receipt, deadline_s=90)

        assert turn.ended is not None
        assert (turn.ended.reason, turn.attempt, turn.text) == ("complete", 1, answer_text("you there?"))
        assert [call.model for call in server.calls] == ["simulated"]
