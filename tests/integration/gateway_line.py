"""Gateways, clients and hand-written session logs for the tests of the gateway on a real broker."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import msgspec
from aiokafka import AIOKafkaProducer
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin, Subprotocol

from gateway.process.server import serve_gateway
from infra.access_tokens import issue_token
from infra.clock import SystemClock
from infra.embedded.broker import EmbeddedBroker
from infra.embedded.cluster import EmbeddedCluster
from infra.kafka.connection import aiokafka_options
from infra.kafka.session_topics import SessionTopics
from infra.kafka.topic_admin import ensure_topics
from infra.settings import Settings, load_settings
from schemas.activity import SessionActivity
from schemas.client_messages import SUBPROTOCOL, ClientMessage, Hello, Pong
from schemas.codec import decode_server_messages, encode
from schemas.gateway_messages import Disconnect, Ping, ServerMessage
from schemas.identifiers import SessionKey, check_session_id, check_user_id, session_key_of
from schemas.session_events import SessionEvent, TokensEmitted, TurnEnded, TurnQueued, TurnStarted
from schemas.topics import Layout, record_partition
from tests.fakes.topic_names import ACTIVITY, fixed_topics

__all__ = [
    "SECRET",
    "SessionWriter",
    "WireClient",
    "answer_events",
    "gateway_settings",
    "http",
    "post",
    "running_gateway",
    "tag_of",
    "token_for",
]

SECRET = "a-secret-of-the-tests-that-is-long-enough-0123456789"
WAIT_S = 15.0


async def gateway_settings(
    kafka: EmbeddedBroker | EmbeddedCluster, home: Path, layout: Layout = "dedicated", **more: Any
) -> Settings:
    """Settings of a gateway on a free port, with the topics in place."""
    settings = load_settings(
        {},
        kafka=kafka.bootstrap_servers,
        kafka_replication=kafka.replication,
        home=home,
        gateway_port=0,
        analytics_port=more.pop("analytics_port", 0),  # no engine, and no other line's
        topic_layout=layout,
        auth_secret=SECRET,
        cursor_secret=SECRET[::-1],
        **more,
    )
    await ensure_topics(settings, fixed_topics(layout))
    return settings


@asynccontextmanager
async def running_gateway(settings: Settings) -> AsyncIterator[int]:
    """A gateway in this event loop; yields its port."""
    stop, port = asyncio.Event(), asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve_gateway(settings, stop=stop, on_ready=port.set_result))
    try:
        await asyncio.wait((serving, port), return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            await serving
        yield port.result()
    finally:
        stop.set()
        await serving


def token_for(user: str, *, ttl_s: float = 3_600, **changes: str) -> str:
    """A token that the test gateways accept, unless changed."""
    secret = changes.pop("secret", SECRET).encode()
    return issue_token(secret, user, ttl_s=ttl_s, now_s=time.time(), **changes)


class WireClient:
    """A websocket client that keeps everything it was told, in order."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.told: list[ServerMessage] = []
        self.read = 0

    @classmethod
    @asynccontextmanager
    async def connected(cls, port: int, user: str | None = "alice", **options: Any) -> AsyncIterator[Self]:
        """Connected, and with a user also welcomed."""
        resume = options.pop("resume", {})
        origin, query = options.pop("origin", None), options.pop("query", "")
        async with connect(
            f"ws://127.0.0.1:{port}/v1/connect{query}",
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            origin=Origin(origin) if origin else None,
            compression=None,
            max_size=None,
            proxy=None,
            **options,
        ) as socket:
            client = cls(socket)
            if user is not None:
                await client.send(Hello(token=token_for(user), resume=resume))
                await client.next("welcome")
            yield client

    async def send(self, message: ClientMessage) -> None:
        """Send one message."""
        await self.socket.send(encode(message), text=True)

    async def send_raw(self, text: str | bytes) -> None:
        """Send a frame as it is."""
        await self.socket.send(text)

    async def next(self, *kinds: str) -> Any:
        """The next message, which must be of one of these types (any, if none is named).

        Where types are named, pings between are answered: they come by the clock, whatever a test does.
        """
        while True:
            while self.read >= len(self.told):
                async with asyncio.timeout(WAIT_S):
                    frame = await self.socket.recv()
                self.told.extend(decode_server_messages(frame))
            message = self.told[self.read]
            self.read += 1
            tag = message.__struct_config__.tag
            if tag in kinds or not kinds:
                return message
            assert isinstance(message, Ping), f"expected {kinds}, got {message}"
            await self.send(Pong())

    async def until(self, kind: str) -> Any:
        """Skip to the next message of a type."""
        while True:
            message = await self.next()
            if message.__struct_config__.tag == kind:
                return message

    async def closed(self) -> tuple[int, Disconnect | None]:
        """Read to the end: the close code, and the `disconnect` before it."""
        words: Disconnect | None = None
        with contextlib.suppress(ConnectionClosed):
            async with asyncio.timeout(WAIT_S):
                async for frame in self.socket:
                    self.told.extend(decode_server_messages(frame))
        for message in self.told:
            words = message if isinstance(message, Disconnect) else words
        assert self.socket.close_code is not None
        return self.socket.close_code, words


class SessionWriter:
    """Writes session logs as a worker does."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.topics = SessionTopics(settings)
        self.producer = AIOKafkaProducer(acks="all", enable_idempotence=True, **aiokafka_options(settings))

    async def __aenter__(self) -> Self:
        await self.topics.start()
        await self.producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.producer.stop()
        await self.topics.stop()

    async def append(self, user: str, session: str, events: Sequence[SessionEvent]) -> int:
        """Append the events one after the other; the last one's offset."""
        key = session_key_of(check_user_id(user), check_session_id(session))
        place = (await self.topics.ensure(key)).place
        offset = -1
        sent = [
            await self.producer.send(place.topic, encode(event), key=key.encode(), partition=place.partition)
            for event in events
        ]
        for future in sent:
            offset = (await future).offset
        if not place.shared:
            await self.tell(key, offset)
        return offset

    async def tell(self, key: SessionKey, offset: int) -> None:
        """Say on the activity topic that the session's log has grown so far."""
        word = SessionActivity(key=key, kind="running", newest_offset=offset)
        await self.producer.send(ACTIVITY, encode(word), key=key.encode(), partition=record_partition(key))


def answer_events(
    turn: str, texts: Sequence[str], *, prompt_id: str = "p1", end: bool = True, per_record: int = 1, attempt: int = 1
) -> list[SessionEvent]:
    """A whole turn: queued, started, the texts, ended."""
    run = f"run-{secrets.token_hex(4)}"
    events: list[SessionEvent] = [
        TurnQueued(turn=turn, prompt_id=prompt_id, input="Why?", model="simulated"),
        TurnStarted(turn=turn, attempt=attempt, run=run, provider="simulated", model="simulated"),
    ]
    now_us = SystemClock().now_us()
    for first in range(0, len(texts), per_record):
        chunks = tuple(texts[first : first + per_record])
        events.append(TokensEmitted(turn=turn, attempt=attempt, run=run, seq=first, chunks=chunks, at_us=now_us))
    if end:
        events.append(TurnEnded(turn=turn, attempt=attempt, run=run, reason="complete"))
    return events


def tag_of(message: msgspec.Struct) -> str:
    """A message's type."""
    return str(message.__struct_config__.tag)


async def http(port: int, path: str) -> tuple[int, str]:
    """Status and body of a GET."""
    return await answered(port, f"GET {path} HTTP/1.1")


def sample(exposition: str, name: str) -> float:
    """One sample of `/metrics`, by its name and labels as they are written there; 0 where there is none."""
    found = (line.rpartition(" ") for line in exposition.splitlines())
    return next((float(value) for shown, _, value in found if shown == name), 0.0)


async def post(port: int, path: str, token: str = "", *headers: str) -> tuple[int, str]:
    """Status and body of a POST without a body."""
    shown = [f"Authorization: Bearer {token}"] if token else []
    return await answered(port, f"POST {path} HTTP/1.1", "Content-Length: 0", *headers, *shown)


async def answered(port: int, request: str, *headers: str) -> tuple[int, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write("\r\n".join((request, f"Host: 127.0.0.1:{port}", *headers, "", "")).encode())
        async with asyncio.timeout(10):
            head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        return int(head.split()[1]), body
    finally:
        writer.close()
        await writer.wait_closed()
