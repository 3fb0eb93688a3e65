"""A broker on a socket that answers two requests, as brokers do that are old, or that give topics no ids.

Real bytes both ways: requests are told apart by their header, answers are encoded by the types that clients decode.
It knows what it offers, one topic, and itself. Anything else ends the connection.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiokafka.protocol.admin import ApiVersionResponse_v0
from aiokafka.protocol.metadata import MetadataResponse_v5

from infra.kafka.topic_ids import MetadataResponse_v10

__all__ = ["MODERN", "ScriptedBroker", "scripted_broker"]

METADATA, API_VERSIONS = 3, 18
HEADER = struct.Struct(">hhi")
"""API key, version, correlation id."""
REQUEST_BYTES_MAX = 65_536
REQUESTS_MAX = 1_000
UNKNOWN_TOPIC = 3
MODERN: Mapping[int, tuple[int, int]] = {1: (4, 17), 3: (0, 12), 18: (0, 0), 19: (2, 7)}
"""What Kafka 4 offers of these; of the last but one only what is answered here."""


@dataclass
class ScriptedBroker:
    """What it says."""

    port: int
    offered: Mapping[int, tuple[int, int]]
    topics: Mapping[str, bytes] = field(default_factory=dict)
    """Topic → its id."""
    asked: list[tuple[int, int]] = field(default_factory=list)
    """API key and version of each request so far."""

    @property
    def bootstrap_servers(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            for _ in range(REQUESTS_MAX):
                length = int.from_bytes(await reader.readexactly(4), "big")
                if length > REQUEST_BYTES_MAX:
                    return
                answer = self.answer(await reader.readexactly(length))
                if answer is None:
                    return
                writer.write(len(answer).to_bytes(4, "big") + answer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    def answer(self, request: bytes) -> bytes | None:
        """The answer to a request; None: there is none."""
        api_key, version, correlation = HEADER.unpack_from(request)
        self.asked.append((api_key, version))
        oldest, newest = self.offered.get(api_key, (0, -1))
        if not oldest <= version <= newest:
            return None
        head: bytes = correlation.to_bytes(4, "big", signed=True)
        if api_key == API_VERSIONS:
            offers = [(key, *versions) for key, versions in self.offered.items()]
            return head + bytes(ApiVersionResponse_v0(0, offers).encode())
        if api_key == METADATA and version == 5:
            return head + self.metadata(request, MetadataResponse_v5)
        if api_key == METADATA and version == 10:
            return head + b"\0" + self.metadata(request, MetadataResponse_v10)
        return None

    def metadata(self, request: bytes, kind: Any) -> bytes:
        flexible = kind is MetadataResponse_v10
        tags: tuple[Any, ...] = ({},) if flexible else ()
        partition: tuple[Any, ...] = (0, 0, 1, 0, [1], [1], [], {}) if flexible else (0, 0, 1, [1], [1], [])
        topics: list[Any] = [
            (0, name, topic_id, False, [partition], -1, {}) if flexible else (0, name, False, [partition])
            for name, topic_id in self.topics.items()
            if name.encode() in request
        ]
        brokers = [(1, "127.0.0.1", self.port, None, *tags)]
        return bytes(kind(0, brokers, "scripted", 1, topics, *((-1, {}) if flexible else ())).encode())


@asynccontextmanager
async def scripted_broker(
    offered: Mapping[int, tuple[int, int]] = MODERN, topics: Mapping[str, bytes] | None = None
) -> AsyncIterator[ScriptedBroker]:
    """A broker on a free port of loopback."""
    broker = ScriptedBroker(0, offered, topics or {})
    serving: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await broker.serve(reader, writer)
        finally:
            serving.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    broker.port = server.sockets[0].getsockname()[1]
    try:
        yield broker
    finally:
        server.close()
        for task in list(serving):
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
