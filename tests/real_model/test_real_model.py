"""A real model behind a real server, through `tokenwire up` with default settings but the server's address.

The server answers one caller at a time, as most on people's own machines do. Run by `make test-real-model`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from infra.ports import find_free_port
from schemas.gateway_messages import Waiting
from tests.integration.chat_client import ChatClient, SeenTurn
from tests.integration.whole_line import WholeLine, running_line
from tests.real_model.real_server import ENVIRONMENT, RealServer, model_file

ANSWERED_S: Final = 300.0
BATCH_S: Final = 900.0
BATCH: Final = 24
CALLS_MAX: Final = 27
LATE_S: Final = 20.0
LONG: Final = "Write a long story about a fox and a river, with many details."

pytestmark = [
    pytest.mark.skipif(
        model_file() is None, reason=f"no server with a model in {ENVIRONMENT}; `make test-real-model` builds it"
    ),
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RealServer]:
    real = RealServer(tmp_path_factory.mktemp("server"), find_free_port())
    try:
        await real.start()
        yield real
    finally:
        await real.stop()


@pytest.fixture(scope="module")
def line(server: RealServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeLine]:
    with running_line(tmp_path_factory.mktemp("line"), provider_url=server.url) as running:
        yield running


def reported(name: str, figures: str) -> None:
    sys.stdout.write(f"\n{name}: {figures}\n")


def assert_whole(turn: SeenTurn) -> None:
    assert turn.end is not None
    assert turn.end.reason in ("complete", "incomplete"), turn.end  # incomplete: it spoke to the end of its window
    assert turn.text
    assert "\N{REPLACEMENT CHARACTER}" not in turn.text


def results_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(row) for row in file.read_text().splitlines()]


async def batch_of(line: WholeLine, server: RealServer, name: str, folder: Path) -> tuple[list[dict[str, Any]], float]:
    """`tokenwire send --file` of 24 prompts: its results, and the seconds that it took."""
    file = folder / f"{name}.jsonl"
    questions = [{"input": f"What is {number} + {number}? One short sentence."} for number in range(BATCH)]
    file.write_text("".join(json.dumps(question) + "\n" for question in questions))
    environment = line.environment | {"TOKENWIRE_KAFKA": line.kafka}
    began_s, calls = time.monotonic(), server.calls()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tokenwire", "send", "--file", str(file), env=environment, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(BATCH_S):
        _, said = await process.communicate()
    took_s = time.monotonic() - began_s
    results = results_of(Path(f"{file}.results.jsonl"))
    reported(name, f"{took_s:.1f} s, {server.calls() - calls} calls, {len(results)} results; exit {process.returncode}")
    assert process.returncode == 0, said.decode()
    return results, took_s


async def test_batch(line: WholeLine, server: RealServer, tmp_path: Path) -> None:
    """24 of 24 complete, at most 27 calls; its time beside that of the best fixed setting, one call at once."""
    before = server.calls()
    learned, learned_s = await batch_of(line, server, "learned", tmp_path)
    calls = server.calls() - before
    config = tmp_path / "tokenwire.toml"
    config.write_text(
        'default_model = "chat"\n[models.chat]\ntargets = ["own:default"]\n[providers.own]\n'
        f'preset = "llama-cpp-python"\nbase_url = "{server.url}"\nconcurrent_max = 1\n'
    )
    folder = tmp_path / "fixed"
    folder.mkdir()
    with running_line(folder, config=config) as fixed_line:
        fixed, fixed_s = await batch_of(fixed_line, server, "fixed", tmp_path)
    assert all(result["reason"] == "complete" for result in (*learned, *fixed)), "what ran to the end of the window"
    reported("batch", f"learned {learned_s:.1f} s, fixed {fixed_s:.1f} s: {learned_s / fixed_s:.2f}")
    assert len(learned) == len(fixed) == BATCH
    assert calls <= CALLS_MAX


async def test_twelve_clients_at_once(line: WholeLine) -> None:
    """All have an answer, whole, whoever had to stand in line."""

    async def one(number: int) -> SeenTurn:
        async with ChatClient.connected(line.gateways[0], line.token(f"client-{number}")) as client:
            return await client.answer("s", f"What is {number} + 1?", ANSWERED_S, max_tokens=48)

    for turn in await asyncio.gather(*(one(number) for number in range(12))):
        assert_whole(turn)


async def test_cancel_ends_the_servers_work(line: WholeLine, server: RealServer) -> None:
    """The server computes no further; the turn ends as cancelled."""
    async with ChatClient.connected(line.gateways[0], line.token("cancels")) as client:
        accepted = await client.prompt("s", LONG, "p1")
        await client.chunks_of(accepted.turns[0], 5, ANSWERED_S)
        await client.cancel("s", "p1")
        idle_s = await server.until_idle(10)
        turn = await client.ended(accepted.turns[0])
    reported("cancel", f"the server worked on for {idle_s:.2f} s")
    assert turn.end is not None
    assert turn.end.reason == "cancelled"


async def test_worker_killed_in_mid_answer(line: WholeLine) -> None:
    """The client that stays has one whole answer, told by the rules."""
    async with ChatClient.connected(line.gateways[0], line.token("worker-dies")) as client:
        accepted = await client.prompt("s", LONG, max_tokens=200)
        await client.chunks_of(accepted.turns[0], 5, ANSWERED_S)
        killed = line.kill("worker")
        turn = await client.ended(accepted.turns[0], ANSWERED_S)
        await asyncio.to_thread(line.until_restarted, killed)
    assert_whole(turn)
    assert not client.faults


async def test_server_killed_in_mid_answer(line: WholeLine, server: RealServer) -> None:
    """What was said stands, the turn ends with a reason, and the next prompt is answered."""
    async with ChatClient.connected(line.gateways[0], line.token("server-dies")) as client:
        accepted = await client.prompt("s", LONG, max_tokens=200)
        await client.chunks_of(accepted.turns[0], 5, ANSWERED_S)
        await server.kill()
        await server.start()
        turn = await client.ended(accepted.turns[0], ANSWERED_S)
        reported("server killed", f"{turn.end}, attempt {turn.attempt}, {len(turn.text)} characters")
        after = await client.answer("t", "Are you back?", ANSWERED_S, max_tokens=32)
    assert turn.end is not None
    assert turn.text
    assert_whole(after)
    assert not client.faults


async def test_prompt_beyond_the_context(line: WholeLine) -> None:
    """The refusal says how large the prompt is, or how large the context."""
    async with ChatClient.connected(line.gateways[0], line.token("long")) as client:
        turn = await client.answer("s", "fox " * 6_000, ANSWERED_S)
        after = await client.answer("t", "Hello?", ANSWERED_S, max_tokens=32)
    assert turn.end is not None
    assert turn.end.error is not None
    reported("beyond the context", f"{turn.end.error.code}: {turn.end.error.message}")
    assert any(character.isdigit() for character in turn.end.error.message)
    assert_whole(after)


async def test_server_started_late(line: WholeLine, server: RealServer) -> None:
    """Tokenwire runs, the server not yet: the prompt waits, its client hears why, and it is answered in one attempt."""
    await server.stop()
    async with ChatClient.connected(line.gateways[0], line.token("early")) as client:
        accepted = await client.prompt("s", "Are you there?", max_tokens=32)
        await asyncio.sleep(LATE_S)  # what is tried is the wait itself
        waits = [message.waits_for for message in client.told if isinstance(message, Waiting)]
        await server.start()
        turn = await client.ended(accepted.turns[0], ANSWERED_S)
    reported("started late", f"told {waits}, attempt {turn.attempt}")
    assert_whole(turn)
    assert waits


async def test_conversation(line: WholeLine) -> None:
    """Each turn is sent what was said before: it counts more tokens than the one before."""
    async with ChatClient.connected(line.gateways[0], line.token("talks")) as client:
        turns = [
            await client.answer("s", text, ANSWERED_S, max_tokens=40)
            for text in ("My name is Ada.", "What is my name?", "Spell it backwards.")
        ]
    for turn in turns:
        assert_whole(turn)
    sizes = [turn.end.usage.input_tokens for turn in turns if turn.end is not None]
    reported("conversation", f"input tokens {sizes}")
    assert sizes == sorted(set(sizes))
    assert len(sizes) == len(turns)


@pytest.mark.parametrize(
    "text",
    ["Wie geht es dir? Antworte auf Deutsch.", "¿Qué hora es? Responde en español.", "用中文说你好。", "Скажи привет."],
)
async def test_languages(line: WholeLine, text: str) -> None:
    """No letter is broken on its way, whatever its script."""
    async with ChatClient.connected(line.gateways[0], line.token("speaks")) as client:
        turn = await client.answer("s", f"{text} \N{FOX FACE}\N{WAVING HAND SIGN}\U0001f3fd", ANSWERED_S, max_tokens=64)
    reported("language", turn.text[:60])
    assert_whole(turn)


async def test_interrupting_server(line: WholeLine, server: RealServer) -> None:
    """A server that cuts the running answer for whoever comes next: our own calls never cut one another."""
    await server.stop()
    await server.start(interrupts=True)

    async def one(number: int) -> SeenTurn:
        async with ChatClient.connected(line.gateways[0], line.token(f"cuts-{number}")) as client:
            return await client.answer("s", f"Count from {number} to twenty.", ANSWERED_S, max_tokens=80)

    try:
        turns = await asyncio.gather(*(one(number) for number in range(4)))
    finally:
        await server.stop()
        await server.start()
    reported("interrupting", "; ".join(f"{turn.end.reason} {turn.end.error}" if turn.end else "none" for turn in turns))
    for turn in turns:
        assert_whole(turn)
        assert turn.end is not None
        assert turn.end.error is None
