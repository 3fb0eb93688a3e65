"""Gateways of `tokenwire up` restarted one after the other while answers are told through both (row G6).

Covers: tokenwire.commands.restart.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import tokenwire
from infra.simulated_provider.answer_text import answer_for
from schemas.gateway_messages import Delta, Drain, End
from tests.integration.whole_line import WholeLine, running_line

CLIENTS = 6
TOKENS = 600
"""At 40 ms each they outlast the restart of both gateways."""
RESTART_S = 60.0
ANSWER_S = 90.0


async def test_G6_rolling_restart_under_streaming_load(tmp_path: Path) -> None:
    """Each reader gets each token once and in order, each prompt is paid once, and the command says what was done."""
    with running_line(tmp_path, "--gateways", "2", gateway_drain_s=0.5, gateway_drain_clients_per_s=2) as line:
        before = line.children()
        began = asyncio.Barrier(CLIENTS + 1)
        async with asyncio.TaskGroup() as tasks:
            readers = [tasks.create_task(read(line, number, began)) for number in range(CLIENTS)]
            await began.wait()  # every one of them is in mid-answer, also the last to connect
            code, printed, told = await restart(line, "gateways", "--json")
        after = line.children()
        refused = await restart(line, "kafka")
        calls = line.calls()

    assert code == 0, told
    done = json.loads(printed)
    assert [child["name"] for child in done["restarted"]] == ["gateway-1", "gateway-2"]
    assert not any(child["killed"] for child in done["restarted"])
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"gateway-1", "gateway-2"}
    results = [reader.result() for reader in readers]
    assert [text for text, _, _ in results] == [expected(number) for number in range(CLIENTS)]
    assert all(connections >= 2 and drains >= 1 for _, connections, drains in results)
    assert len(calls) == CLIENTS
    assert refused[0] == 1
    assert "gateways, workers, worker, gateway-1, gateway-2" in refused[2]


def question(number: int) -> str:
    return f"[[sim tokens={TOKENS} pace_ms=40]] Question {number}?"


def expected(number: int) -> str:
    return "".join(answer_for([{"role": "user", "content": question(number)}], tokens=TOKENS))


async def read(line: WholeLine, number: int, began: asyncio.Barrier) -> tuple[str, int, int]:
    """Ask one prompt and read its answer: the text, the connections it took, the drains that were announced."""
    urls = [address.replace("http", "ws", 1) + "/v1/connect" for address in line.gateways]
    ordered = urls[number % 2 :] + urls[: number % 2]
    pieces: list[str] = []
    drains = 0
    async with asyncio.timeout(ANSWER_S), tokenwire.connect(ordered, token=line.token(f"user-{number}")) as wire:
        wire.prompt(question(number), session="s1")
        async for message in wire:
            match message:
                case Delta():
                    if not pieces:
                        await began.wait()
                    pieces.append(message.text)
                case Drain():
                    drains += 1
                case End():
                    assert message.reason == "complete"
                    break
                case _:
                    pass
        return "".join(pieces), wire.connections, drains


async def restart(line: WholeLine, *arguments: str) -> tuple[int, str, str]:
    """`tokenwire restart` in another terminal: code, output, what it says."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "tokenwire",
        "restart",
        *arguments,
        env=line.environment,
        cwd=line.folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(RESTART_S):
        output, said = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), said.decode()
