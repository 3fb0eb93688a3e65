"""The Python client on real gateways that leave or vanish while an answer is told."""

from __future__ import annotations

import asyncio
from pathlib import Path

import tokenwire
from schemas.client_messages import Attached, Delta, Drain, End
from tests.faults.memory_gateway import MemoryGateway
from tests.integration.gateway_line import answer_events, token_for

SESSION = "s1"
WORDS = [f"word{number} " for number in range(40)]
WAIT_S = 20.0


async def test_G6_client_moves_to_the_sibling_of_a_gateway_that_leaves(tmp_path: Path) -> None:
    """Drained in mid-answer it goes on elsewhere from its cursor: each word once, in order."""
    events = answer_events("t1", WORDS)
    async with (
        MemoryGateway.opened(tmp_path / "one", drain_s=0.3, drain_clients_per_s=1.0) as leaving,
        MemoryGateway.opened(tmp_path / "two", log=leaving.log) as sibling,
    ):
        urls = [f"ws://127.0.0.1:{gateway.port}/v1/connect" for gateway in (leaving, sibling)]
        told: list[str] = []
        drained = False
        async with asyncio.timeout(WAIT_S), tokenwire.connect(urls, token=token_for("alice")) as line:
            line.attach(SESSION, from_="start")
            going: asyncio.Task[None] | None = None
            async for message in line:
                match message:
                    case Attached() if going is None:
                        await leaving.append(SESSION, events[:20])
                        going = asyncio.create_task(leaving.gateway.leave())
                    case Drain():
                        drained = True
                        await leaving.append(SESSION, events[20:30])
                    case Attached():
                        await sibling.append(SESSION, events[30:])
                    case Delta():
                        told.append(message.text)
                    case End():
                        break
                    case _:
                        pass
            assert going is not None
            await going
            assert line.connections == 2

    assert drained
    assert "".join(told) == "".join(WORDS)
