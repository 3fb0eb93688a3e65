"""The simulated provider as a server: its process, its list of calls, slow and leaving clients.

Covers: infra.simulated_provider.answer_player, infra.simulated_provider.crowding, infra.simulated_provider.server.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import socket
from multiprocessing.connection import Connection

import aiohttp
import pytest

from infra.simulated_provider.answer_text import answer_for
from infra.simulated_provider.behaviour import Behaviour
from infra.simulated_provider.call_log import prompt_sha256
from infra.simulated_provider.server import SimulatedProvider, serve
from tests.integration.process_probe import until

READY_S_MAX = 20.0
FAST = Behaviour(first_ms=1, pace_ms=0)


def run_server(ready: Connection) -> None:
    serve(port=0, behaviour=FAST, on_ready=lambda provider: ready.send(provider.port))


def body_for(text: str, *, stream: bool = True) -> dict[str, object]:
    return {"model": "simulated", "stream": stream, "messages": [{"role": "user", "content": text}]}


async def test_process_of_its_own() -> None:
    """It says when it listens, answers, tells its calls, and leaves quietly on SIGTERM."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=run_server, args=(theirs,))
    process.start()
    try:
        assert await asyncio.to_thread(ours.poll, READY_S_MAX)
        url = f"http://127.0.0.1:{ours.recv()}"
        async with aiohttp.ClientSession() as client:
            async with client.post(f"{url}/v1/chat/completions", json=body_for("hello", stream=False)) as response:
                answer = await response.json()
            async with client.get(f"{url}/calls", params={"prompt_sha256": prompt_sha256("hello")}) as response:
                calls = await response.json()
            async with client.get(f"{url}/calls", params={"prompt_sha256": prompt_sha256("other")}) as response:
                none = await response.json()
    finally:
        process.terminate()
        await asyncio.to_thread(process.join, READY_S_MAX)
        exit_code = process.exitcode
        process.kill()
        process.join()

    assert answer["choices"][0]["message"]["content"] == "".join(answer_for([{"role": "user", "content": "hello"}]))
    assert [call["state"] for call in calls] == ["finished"]
    assert none == []
    assert exit_code == 0, signal.Signals(-exit_code) if exit_code and exit_code < 0 else exit_code


async def test_port_that_is_taken() -> None:
    """Starting fails at once, and leaves nothing behind."""
    async with SimulatedProvider() as first:
        second = SimulatedProvider(port=first.port)
        with pytest.raises(OSError, match="address already in use"):
            await second.start()


async def test_directive_with_a_typo() -> None:
    """The request is refused with a message that names the option, and counts as no call."""
    async with SimulatedProvider(behaviour=FAST) as server, aiohttp.ClientSession() as client:
        url = f"{server.base_url}/chat/completions"
        async with client.post(url, json=body_for("[[sim tokns=3]] x")) as response:
            refusal = await response.json()

    assert response.status == 400
    assert "tokns" in refusal["error"]["message"]
    assert server.calls == []


async def test_client_that_reads_nothing() -> None:
    """The answer waits once the buffers are full, instead of growing in memory, and ends when the client leaves."""
    async with SimulatedProvider(behaviour=FAST) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1_024)
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        body = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"[[sim tokens=200000]] much"}]}'
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await reader.readexactly(1)
        sent = await settled_tokens(server)
        writer.transport.abort()
        async with asyncio.timeout(5):
            while server.calls[0].state == "running":  # noqa: ASYNC110  # the list of calls has no event
                await asyncio.sleep(0.001)

    assert sent < 200_000
    assert server.calls[0].state == "aborted"


async def settled_tokens(server: SimulatedProvider) -> int:
    """The number of tokens sent, once it has stopped growing for a while."""
    before, unchanged = -1, 0
    async with asyncio.timeout(30):
        while unchanged < 10:
            await asyncio.sleep(0.02)
            sent = server.calls[0].tokens_sent
            unchanged = unchanged + 1 if sent == before else 0
            before = sent
    return before


async def answer_times(server: SimulatedProvider, calls: int) -> list[tuple[int, float, float]]:
    """Status, first token and end of so many calls at once, in seconds from then."""
    begun_s = asyncio.get_running_loop().time()

    async def one(client: aiohttp.ClientSession, number: int) -> tuple[int, float, float]:
        url = f"{server.base_url}/chat/completions"
        async with client.post(url, json=body_for(f"question {number}")) as response:
            first_s = 0.0
            async for line in response.content:
                if not first_s and b'"content":"' in line.replace(b'"content":""', b""):
                    first_s = asyncio.get_running_loop().time() - begun_s
            return response.status, first_s, asyncio.get_running_loop().time() - begun_s

    async with aiohttp.ClientSession() as client:
        return await asyncio.gather(*(one(client, number) for number in range(calls)))


async def test_more_calls_than_it_answers_wait() -> None:
    """One after another; nobody is refused, and one that leaves the queue keeps no place."""
    behaviour = Behaviour(first_ms=100, pace_ms=10, jitter=0, tokens=20)
    async with SimulatedProvider(behaviour=behaviour, concurrent_max=1, beyond="queue") as server:
        leaving = asyncio.ensure_future(answer_times(server, 2))
        await until(lambda: bool(server.crowding.waiting), READY_S_MAX)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        told = await answer_times(server, 4)

        assert [status for status, _, _ in told] == [200] * 4
        ends_s = sorted(end_s for _, _, end_s in told)
        firsts_s = sorted(first_s for _, first_s, _ in told)
        assert all(first_s >= end_s for first_s, end_s in zip(firsts_s[1:], ends_s, strict=False))
        assert server.crowding.running == len(server.crowding.waiting) == 0


async def test_more_calls_than_it_answers_are_slower() -> None:
    """Four share the power for one: each takes four times as long, and its first token does not."""
    behaviour = Behaviour(first_ms=10, pace_ms=10, jitter=0, tokens=20)
    async with SimulatedProvider(behaviour=behaviour, concurrent_max=1, beyond="slower") as server:
        told = await answer_times(server, 4)

        assert [status for status, _, _ in told] == [200] * 4
        assert min(end_s - first_s for _, first_s, end_s in told) >= 0.6
