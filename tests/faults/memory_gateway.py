"""A gateway with real sockets over session logs in memory: what is tried is the way to the client, not the broker."""

from __future__ import annotations

import asyncio
import contextlib
import socket as sockets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from gateway.access.access_desk import AccessDesk, GuardedTokens
from gateway.clients.archive_reader import Archive
from gateway.hubs.reader_reports import ReaderReports
from gateway.process.gateway_rules import process_rate, rules_of
from gateway.process.open_connections import OpenConnections
from gateway.process.server import Gateway, open_gateway
from gateway.sockets.decisions.client_outbox import HeldBytes
from gateway.sockets.decisions.connection_limits import ConnectionLimits, SocketCounts
from gateway.sockets.gateway_metrics import GatewayMetrics
from infra.access_tokens import TokenVerifier
from infra.clock import SystemClock
from infra.connect_tickets import TicketIssuer
from infra.settings import load_settings
from infra.sign_in_codes import SignInCodes
from producers.prompt_producer import PromptProducer
from schemas.client_messages import SUBPROTOCOL, Attach, Hello, OnSlow
from schemas.codec import encode
from schemas.session_events import SessionEvent
from tests.fakes.access_log import AccessLog
from tests.fakes.followed_log import FollowedLog, FollowedLogReader
from tests.integration.gateway_line import SECRET, token_for
from tests.unit.gateway.gateway_parts import key_of, services_over

__all__ = ["MemoryGateway", "narrow_client", "raw_follower"]

NARROW_BYTES = 4_096
"""Receive buffer of a client that reads slowly."""


class MemoryGateway:
    """The gateway, its log, and what a worker does with it."""

    def __init__(self, gateway: Gateway, log: FollowedLog, reader: FollowedLogReader) -> None:
        self.gateway = gateway
        self.log = log
        self.reader = reader
        self.port = gateway.port

    @property
    def address(self) -> str:
        """As `ChatClient` takes it."""
        return f"http://127.0.0.1:{self.port}"

    async def append(self, session: str, events: list[SessionEvent]) -> None:
        """Put records on the log and relay them; the sockets get their turn."""
        self.log.append(key_of(session), events)
        self.reader.deliver()
        await asyncio.sleep(0)

    @classmethod
    @asynccontextmanager
    async def opened(
        cls,
        home: Path,
        *,
        limits: dict[str, Any] | None = None,
        outbox: dict[str, Any] | None = None,
        log: FollowedLog | None = None,
        access_log: AccessLog | None = None,
        tokens: TokenVerifier | None = None,
        archive: Archive | None = None,
        settings: dict[str, str] | None = None,
        **rules: Any,
    ) -> AsyncIterator[MemoryGateway]:
        """A gateway that listens, its times shortened by `rules` and its caps by `limits` and `outbox`.

        `log`, `access_log`: another gateway's, which this one serves as well.
        """
        clock, connections = SystemClock(), OpenConnections()
        loaded = load_settings({}, home=home, gateway_port=0, auth_secret=SECRET, **(settings or {}))
        made, connection_limits = rules_of(loaded, clock), ConnectionLimits(**(limits or {}))
        if tokens is not None:
            rules["tokens"] = GuardedTokens(tokens, made.tokens.logged_out, clock)
        made = replace(
            made,
            connection_limits=connection_limits,
            outbox_limits=replace(made.outbox_limits, **(outbox or {})),
            **{"tick_s": 0.1, **rules},
        )
        log = log or FollowedLog(records_per_read=200)
        reader = FollowedLogReader(log)
        access_log = access_log or AccessLog()
        issuer, codes = TicketIssuer(SECRET.encode()), SignInCodes.from_settings(loaded)
        access = AccessDesk(made.tokens, issuer, access_log, clock, on_logged_out=connections.log_out, codes=codes)
        access_log.join(access)
        services = replace(
            services_over(log, reader, archive=archive, clock=clock),
            rules=made,
            sockets=SocketCounts(connection_limits),
            message_rate=process_rate(connection_limits, clock),
            held_bytes=HeldBytes(connection_limits.held_bytes_max),
            clock=clock,
            access=access,
            metrics=GatewayMetrics(clock),
        )
        reports = ReaderReports(cast(PromptProducer, None), clock, gateway="memory")
        gateway = await open_gateway(loaded, services, connections, reports)
        ticking = asyncio.create_task(gateway.upkeep.run())
        try:
            yield cls(gateway, log, reader)
        finally:
            await gateway.departure.leave()
            ticking.cancel()
            await asyncio.gather(ticking, return_exceptions=True)
            await services.hubs.close()


@asynccontextmanager
async def narrow_client(port: int) -> AsyncIterator[ClientConnection]:
    """A websocket whose kernel takes little, so that what is not read soon waits at the gateway."""
    raw = sockets.socket()
    raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, NARROW_BYTES)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port))
    async with connect(
        f"ws://127.0.0.1:{port}/v1/connect",
        sock=raw,
        subprotocols=[Subprotocol(SUBPROTOCOL)],
        compression=None,
        max_size=None,
        max_queue=1,
        ping_interval=None,
        close_timeout=0.2,
        proxy=None,
    ) as socket:
        yield socket


@asynccontextmanager
async def raw_follower(
    port: int, session: str, *, from_: str = "tail", on_slow: OnSlow = "log", user: str = "alice"
) -> AsyncIterator[sockets.socket]:
    """A TCP socket that has said hello and attach, and of which nothing is read unless the test does."""
    loop = asyncio.get_running_loop()
    raw = sockets.socket()
    raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, NARROW_BYTES)
    raw.setblocking(False)
    with contextlib.closing(raw):
        await loop.sock_connect(raw, ("127.0.0.1", port))
        await loop.sock_sendall(raw, handshake(port))
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += await loop.sock_recv(raw, 1)
        assert b" 101 " in answer.splitlines()[0]
        for message in (Hello(token=token_for(user)), Attach(session=session, from_=from_, on_slow=on_slow)):
            await loop.sock_sendall(raw, masked(encode(message)))
        yield raw


def handshake(port: int) -> bytes:
    return (
        f"GET /v1/connect HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n"
    ).encode()


def masked(payload: bytes) -> bytes:
    """A client's text frame; its mask is zero."""
    length = bytes((0x80 | len(payload),)) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
    return b"\x81" + length + bytes(4) + payload
