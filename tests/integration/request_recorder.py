"""A way to a real broker that notes every metadata request on it: who asks, for which topics, may they be created.

The broker tells clients this address as its own, so that whatever they open goes through here.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

__all__ = ["MetadataAsked", "RequestRecorder", "recording"]

METADATA = 3
HEADER = struct.Struct(">hhih")
"""API key, version, correlation id, length of the client's name."""
CREATION_FROM_END = {4: 1, 5: 1, 6: 1, 7: 1, 8: 3, 9: 4, 10: 4, 11: 3, 12: 3, 13: 3}
"""By version, how many bytes before the end of a metadata request it says whether topics may be created."""
CHUNK_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class MetadataAsked:
    """One metadata request."""

    client: str
    version: int
    creates: bool
    """Whether topics may be created by it: versions before 4 cannot say no."""
    body: bytes

    def names(self, topic: str) -> bool:
        """Whether it asks for the topic."""
        return topic.encode() in self.body


@dataclass
class RequestRecorder:
    """What was asked so far."""

    port: int
    target_port: int
    asked: list[MetadataAsked] = field(default_factory=list)

    def clients(self) -> set[str]:
        """Who has asked."""
        return {request.client for request in self.asked}

    def may_create(self) -> list[MetadataAsked]:
        """Requests that name a topic and let it be created; those that name none are about brokers, or all topics."""
        return [request for request in self.asked if request.creates and b"tokenwire." in request.body]

    def count(self, client: str, topic: str) -> int:
        """How often clients whose names begin so have asked for the topic."""
        return sum(request.client.startswith(client) and request.names(topic) for request in self.asked)

    def has_asked(self, client: str, topic: str, times: int) -> bool:
        """Whether they have asked for it so often."""
        return self.count(client, topic) >= times

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side ends it."""
        try:
            broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
            ways = [
                asyncio.create_task(self.requests(reader, broker_writer)),
                asyncio.create_task(answers(broker_reader, writer)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
                broker_writer.close()
        except OSError:  # the broker is not up yet, or has gone
            return
        finally:
            writer.close()

    async def requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                length = await reader.readexactly(4)
                request = await reader.readexactly(int.from_bytes(length, "big"))
                self.note(request)
                writer.write(length + request)
                await writer.drain()

    def note(self, request: bytes) -> None:
        api_key, version, _, name_bytes = HEADER.unpack_from(request)
        if api_key != METADATA:
            return
        body = request[HEADER.size + max(0, name_bytes) :]
        client = request[HEADER.size : len(request) - len(body)].decode()
        creates = version < min(CREATION_FROM_END) or body[-CREATION_FROM_END[version]] != 0
        self.asked.append(MetadataAsked(client, version, creates, body))


async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while part := await reader.read(CHUNK_BYTES):
            writer.write(part)
            await writer.drain()


@asynccontextmanager
async def recording(target_port: int, port: int) -> AsyncIterator[RequestRecorder]:
    """A recorder that listens on `port`."""
    recorder = RequestRecorder(port, target_port)
    serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(recorder.pass_on(reader, writer))
        serving[task] = writer
        task.add_done_callback(lambda done: serving.pop(done, None))

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    try:
        yield recorder
    finally:
        server.close()
        left = dict(serving)
        for task, writer in left.items():
            task.cancel()
            writer.close()  # one that was cancelled before its first step does not
        await asyncio.gather(*left, return_exceptions=True)
