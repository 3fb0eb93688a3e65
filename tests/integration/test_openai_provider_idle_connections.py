"""The OpenAI adapter and a server that closes idle connections, at the moment at which they are used again.

Covers: processors.providers.connection_reuse.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from infra.telemetry.metric_names import WORKER_METRICS, WORKER_SENT_AGAIN
from infra.telemetry.metrics import Metrics
from processors.providers.openai_provider import OpenAIProvider
from processors.providers.provider import ProviderChunk, ProviderUnreachable, TextChunk
from tests.integration.byte_server import FINISH, PATIENT, TEXT, heard_from

ANSWER = b"data: [DONE]\n\n".join((TEXT + FINISH, b""))
KEPT = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(ANSWER) + ANSWER


class KeepAliveServer:
    """Answers the requests of a connection one after another; `dies` says which of all requests end theirs unread."""

    def __init__(self, dies: Callable[[int], bool], dies_after_s: float = 0.0, *, resets: bool = False) -> None:
        self.dies = dies
        self.dies_after_s = dies_after_s
        self.resets = resets
        self.requests = 0
        self.connections = 0
        self.metrics = Metrics(WORKER_METRICS)
        self.hold = asyncio.Event()
        self.hold.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split()[0]))
                self.requests += 1
                if self.dies(self.requests):
                    await asyncio.sleep(self.dies_after_s)
                    if self.resets:
                        linger = struct.pack("ii", 1, 0)
                        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                        writer.transport.abort()
                    return
                await self.hold.wait()
                writer.write(KEPT)
                await writer.drain()

    @property
    def sent_again(self) -> float:
        """As the worker's metrics count it."""
        return self.metrics.registry.get_sample_value(WORKER_SENT_AGAIN.name, {"target": "kept"}) or 0.0

    @asynccontextmanager
    async def adapter(self) -> AsyncIterator[OpenAIProvider]:
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        count = self.metrics.counter(WORKER_SENT_AGAIN).labels(target="kept").inc
        adapter = OpenAIProvider(name="kept", api_key="", base_url=url, on_sent_again=count)
        try:
            yield adapter
        finally:
            await adapter.aclose()
            server.close()


@pytest.mark.parametrize("resets", [False, True])
async def test_request_that_dies_with_an_idle_connection(resets: bool) -> None:
    """It goes out once more, as part of the same call, on a connection of its own, and is counted."""
    server = KeepAliveServer(lambda request: request == 2, resets=resets)
    async with server.adapter() as adapter:
        heard = [await heard_from(adapter, PATIENT) for _ in range(2)]

    assert [failure for _, failure in heard] == [None, None]
    assert [items[0] for items, _ in heard] == [TextChunk("hi")] * 2
    assert (server.requests, server.connections, server.sent_again) == (3, 2, 1)


@pytest.mark.parametrize(
    ("dies", "dies_after_s", "requests"),
    [
        pytest.param(lambda request: request == 1, 0.0, 1, id="on a new connection"),
        pytest.param(lambda request: request == 2, 1.2, 2, id="after a second"),
        pytest.param(lambda request: request >= 2, 0.0, 3, id="and its second sending too"),
    ],
)
async def test_request_whose_server_dies(dies: Callable[[int], bool], dies_after_s: float, requests: int) -> None:
    """Somebody may have read it: the call has failed, and whoever called decides."""
    server = KeepAliveServer(dies, dies_after_s)
    async with server.adapter() as adapter:
        heard = [await heard_from(adapter, PATIENT) for _ in range(min(requests, 2))]

    assert isinstance(heard[-1][1], ProviderUnreachable)
    assert server.requests == requests
    assert server.sent_again == (requests == 3)


async def test_request_that_dies_beside_another_call() -> None:
    """A server that ends one call because of another looks the same: nothing is sent again."""
    server = KeepAliveServer(lambda request: request == 4)

    async def asked(adapter: OpenAIProvider, until_requests: int) -> asyncio.Task[tuple[list[ProviderChunk], Any]]:
        task = asyncio.create_task(heard_from(adapter, PATIENT))
        while server.requests < until_requests:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)
        return task

    async with server.adapter() as adapter, asyncio.timeout(20):
        server.hold.clear()
        both = [await asked(adapter, 1), await asked(adapter, 2)]
        server.hold.set()
        await asyncio.gather(*both)  # two connections are idle now
        server.hold.clear()
        beside = await asked(adapter, 3)
        items, failure = await (await asked(adapter, 4))
        server.hold.set()
        heard = await beside

    assert (items, heard[1]) == ([], None)
    assert isinstance(failure, ProviderUnreachable)
    assert (server.requests, server.connections, server.sent_again) == (4, 2, 0)
