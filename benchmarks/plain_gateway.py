"""The gateway that one would write first, to compare with: `python -m benchmarks.gateway plain` runs it.

One aiokafka consumer over all session topics, an unbounded queue for each client, `ws.send` for each token; nothing is
remembered, so who comes back goes on with what is new. It speaks as much of the wire protocol as the benchmark's
clients need, believes every token without looking at its signature, and answers no page and no metrics.
"""

from __future__ import annotations

import asyncio
import re
import resource
from collections import defaultdict
from typing import Any, Final

import jwt
import msgspec
import uvloop
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from infra.kafka.connection import aiokafka_options
from infra.settings import Settings, load_settings
from schemas.client_messages import SUBPROTOCOL
from schemas.codec import decode_session_event, encode
from schemas.gateway_messages import Attached, Delta, End, ServerMessage, Start
from schemas.identifiers import check_session_id, check_user_id, session_key_of
from schemas.session_events import SessionEvent, TokensEmitted, TurnEnded, TurnStarted
from schemas.topics import SHARED_PARTITIONS

__all__: list[str] = []

METADATA_MS: Final = 5_000
"""How soon the consumer hears of new topics."""
FETCH_WAIT_MS: Final = 100

Queues = defaultdict[bytes, set["asyncio.Queue[str]"]]


async def consume(settings: Settings, queues: Queues) -> None:
    """Read everything and give each token to every client of its session."""
    consumer = AIOKafkaConsumer(
        **aiokafka_options(settings), fetch_max_wait_ms=FETCH_WAIT_MS, metadata_max_age_ms=METADATA_MS
    )
    if settings.topic_layout == "shared":
        topic = settings.topic_names.shared_sessions
        consumer.assign([TopicPartition(topic, number) for number in range(SHARED_PARTITIONS)])
    else:
        consumer.subscribe(pattern=rf"^{re.escape(settings.topic_prefix)}\.session\.")
    await consumer.start()
    try:
        async for record in consumer:
            if clients := queues.get(record.key):
                for text in messages(decode_session_event(record.value)):
                    for queue in clients:
                        queue.put_nowait(text)
    finally:
        await consumer.stop()


def messages(event: SessionEvent) -> list[str]:
    """What clients are told: one message a token."""
    told: list[ServerMessage] = []
    match event:
        case TurnStarted():
            told = [Start(session="s", turn=event.turn, attempt=event.attempt)]
        case TokensEmitted():
            told = [
                Delta(session="s", turn=event.turn, attempt=event.attempt, seq=event.seq + place, n=1, text=text)
                for place, text in enumerate(event.chunks)
            ]
        case TurnEnded():
            told = [End(session="s", turn=event.turn, attempt=event.attempt, reason=event.reason)]
        case _:
            pass
    return [encode(message).decode() for message in told]


async def serve_client(socket: ServerConnection, queues: Queues) -> None:
    """One client: hello, attach, then whatever its queue gets."""
    queue: asyncio.Queue[str] = asyncio.Queue()
    key = b""
    sender = None
    user = ""
    try:
        async for said in socket:
            message: dict[str, Any] = msgspec.json.decode(said)
            if message["type"] == "hello":
                user = jwt.decode(message["token"], options={"verify_signature": False})["sub"]
            elif message["type"] == "attach":
                key = session_key_of(check_user_id(user), check_session_id(message["session"])).encode()
                queues[key].add(queue)
                await socket.send(encode(Attached(session=message["session"], head="", recovered="live")).decode())
                sender = asyncio.create_task(send_all(socket, queue), name="sender")
    except ConnectionClosed:
        pass
    finally:
        if sender is not None:
            sender.cancel()
        queues[key].discard(queue)
        if not queues[key]:
            del queues[key]


async def send_all(socket: ServerConnection, queue: asyncio.Queue[str]) -> None:
    try:
        while True:
            await socket.send(await queue.get())
    except ConnectionClosed:
        pass


async def run(settings: Settings) -> None:
    """Until it is ended."""
    queues: Queues = defaultdict(set)
    async with serve(
        lambda socket: serve_client(socket, queues),
        settings.gateway_host,
        settings.gateway_port,
        compression=None,
        subprotocols=[Subprotocol(SUBPROTOCOL)],
        backlog=4_096,
    ):
        await consume(settings, queues)


if __name__ == "__main__":
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    uvloop.run(run(load_settings()))
