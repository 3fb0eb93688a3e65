"""The simulated provider as a server: its process, its list of calls, slow and leaving clients."""

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
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
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
