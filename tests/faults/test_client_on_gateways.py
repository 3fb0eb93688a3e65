"""The Python client on real gateways that leave or vanish while an answer is told (rows G5 and G6)."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from pathlib import Path
from typing import Final

import tokenwire
from schemas.gateway_messages import Attached, Delta, Drain, End
from schemas.session_events import SessionEvent
from tests.faults.child_gateway import ChildGateway
from tests.faults.full_size import measured, sized
from tests.faults.memory_gateway import MemoryGateway
from tests.integration.gateway_line import answer_events, token_for

SESSION = "s1"
WORDS = [f"word{number} " for number in range(40)]
WAIT_S = 20.0
CLIENTS: Final = sized(3, full=40)
SESSIONS: Final = [f"s{number}" for number in range(sized(4, full=10))]
ROUNDS: Final = sized(20, full=60)


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
                        going = asyncio.create_task(leaving.gateway.departure.leave())
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


async def test_G5_clients_go_on_at_the_sibling_of_a_killed_gateway(tmp_path: Path) -> None:
    """`kill -9` while answers of several sessions are told to several clients: each has each word once, in order."""
    answers = {
        session: answer_events("t1", [f"{session}:{number} " for number in range(2 * ROUNDS)]) for session in SESSIONS
    }
    async with ChildGateway.opened(tmp_path / "one") as first, ChildGateway.opened(tmp_path / "two") as sibling:
        urls = [first.url, sibling.url]
        attached = [asyncio.Event() for _ in range(CLIENTS)]
        async with asyncio.timeout(4 * WAIT_S), asyncio.TaskGroup() as tasks:
            readers = [tasks.create_task(whole_answers(urls, each)) for each in attached]
            for each in attached:
                await each.wait()
            for number in range(ROUNDS + 1):
                if number == ROUNDS // 3:
                    first.kill()
                    killed_s = time.monotonic()
                for gateway in (gateway for gateway in (first, sibling) if gateway.is_alive):
                    await append_round(gateway, answers, number)
        told = [reader.result() for reader in readers]
        measured(
            "G5",
            f"{CLIENTS} Python clients of {len(SESSIONS)} sessions on a gateway that was killed: all answers whole "
            f"{time.monotonic() - killed_s:.1f} s later, at {2 * ROUNDS} words each",
        )

    for texts, connections in told:
        assert connections == 2
        assert texts == {s: "".join(f"{s}:{number} " for number in range(2 * ROUNDS)) for s in SESSIONS}


async def append_round(gateway: ChildGateway, answers: dict[str, list[SessionEvent]], number: int) -> None:
    """Two more records of each answer; in the last round, all that is left."""
    for session, events in answers.items():
        await gateway.append(session, events[2 * number : len(events) if number == ROUNDS else 2 * number + 2])


async def whole_answers(urls: list[str], attached: asyncio.Event) -> tuple[dict[str, str], int]:
    """Follow all sessions to their answers' ends: the texts, and how many connections it took."""
    texts: defaultdict[str, str] = defaultdict(str)
    ended: set[str] = set()
    known: set[str] = set()
    async with tokenwire.connect(urls, token=token_for("alice")) as line:
        for session in SESSIONS:
            line.attach(session, from_="start")
        async for message in line:
            match message:
                case Attached():
                    known.add(message.session)
                case Delta():
                    texts[message.session] += message.text
                case End():
                    ended.add(message.session)
                case _:
                    pass
            if len(known) == len(SESSIONS):
                attached.set()
            if len(ended) == len(SESSIONS):
                break
        return dict(texts), line.connections
