"""A prompt whose first sending fails while the next one's, already on its way, succeeds: as when a topic is being made.

The broker takes whatever number a producer's first batch in a partition has. So the first prompt's repetition has a
number that is passed already: the broker calls it a duplicate, and it is acknowledged without being on the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from infra.embedded.broker import EmbeddedBroker
from infra.kafka.log_client import LogClient
from infra.kafka.topic_admin import ensure_topics
from infra.ports import find_free_port
from infra.settings import Settings, load_settings
from producers.prompt_producer import PromptProducer
from schemas.codec import decode_prompt_command
from schemas.prompts import PromptSubmitted
from schemas.topics import user_partition
from tests.fakes.topic_names import PROMPTS, fixed_topics
from tests.integration.broker_fixture import new_broker

PRODUCE = 0
SIZE_BYTES = 4
UNKNOWN = PROMPTS.replace("prompts", "unknown").encode()
"""As long as the topic's own name."""


class ForgetfulProxy:
    """Stands before a broker. The first produce request waits for the second, and meets a broker without the topic."""

    def __init__(self, broker_port: int) -> None:
        self.broker_port = broker_port
        self.held = asyncio.Event()
        self.first: bytes | None = None
        self.produced = 0
        self.tasks: set[asyncio.Task[None]] = set()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", self.broker_port)
        for work in (self.requests(reader, broker_writer), self.answers(broker_reader, writer)):
            self.tasks.add(asyncio.create_task(work))

    async def requests(self, reader: asyncio.StreamReader, broker: asyncio.StreamWriter) -> None:
        with contextlib.closing(broker), contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                size = await reader.readexactly(SIZE_BYTES)
                request = size + await reader.readexactly(int.from_bytes(size))
                if struct.unpack_from(">h", request, SIZE_BYTES)[0] == PRODUCE:
                    self.produced += 1
                    if self.produced == 1:
                        self.first = request.replace(PROMPTS.encode(), UNKNOWN)
                        self.held.set()
                        continue
                    if self.first is not None:
                        request, self.first = self.first + request, None
                broker.write(request)
                await broker.drain()

    async def answers(self, broker: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            while piece := await broker.read(65_536):
                writer.write(piece.replace(UNKNOWN, PROMPTS.encode()))
                await writer.drain()


@asynccontextmanager
async def behind_proxy(folder: Path) -> AsyncIterator[tuple[ForgetfulProxy, Settings, EmbeddedBroker]]:
    """A broker whose clients come through the proxy."""
    port = find_free_port()
    broker = new_broker(folder / "broker", extra_properties={"advertised.listeners": f"CLIENT://127.0.0.1:{port}"})
    await broker.start()
    proxy = ForgetfulProxy(broker.port)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", port)
    settings = load_settings({"TOKENWIRE_HOME": str(folder / "home"), "TOKENWIRE_KAFKA": f"127.0.0.1:{port}"})
    try:
        yield proxy, settings, broker
    finally:
        server.close()
        for task in proxy.tasks:
            task.cancel()
        await asyncio.gather(*proxy.tasks, return_exceptions=True)
        await broker.stop()


async def test_prompt_that_its_broker_calls_a_duplicate(tmp_path: Path) -> None:
    """It is sent again: what is acknowledged lies on the log, at the offset that the acknowledgement says."""
    async with behind_proxy(tmp_path) as (proxy, settings, _), asyncio.timeout(60):
        await ensure_topics(settings, fixed_topics("shared"))
        async with PromptProducer(settings) as producer:
            first = asyncio.create_task(producer.submit(prompt("first")))
            await proxy.held.wait()
            receipts = [await producer.submit(prompt("second")), await first]
        written = await prompts_of(settings, user_partition("alice"))

    assert proxy.produced >= 3
    told = {"second": receipts[0].offset, "first": receipts[1].offset}
    assert told == {prompt_id: offset for offset, prompt_id in written}


def prompt(prompt_id: str) -> PromptSubmitted:
    return PromptSubmitted(user="alice", session="s1", prompt_id=prompt_id, input="Hi")


async def prompts_of(settings: Settings, partition: int) -> list[tuple[int, str]]:
    reader = LogClient(settings, role="test-reader")
    await reader.start()
    try:
        bounds = await reader.bounds(PROMPTS, partition)
        return [
            (record.offset, command.prompt_id)
            async for records in reader.read(PROMPTS, partition, bounds.start, bounds.end)
            for record in records
            if isinstance(command := decode_prompt_command(record.value or b""), PromptSubmitted)
        ]
    finally:
        await reader.stop()
