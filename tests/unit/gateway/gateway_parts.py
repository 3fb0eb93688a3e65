"""A gateway's inside without Kafka and without sockets: sessions in memory, clients that record."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from gateway.access.access_desk import AccessDesk, GuardedTokens
from gateway.access.decisions.logged_out import LoggedOut
from gateway.clients.archive_reader import Archive, ArchiveReader
from gateway.clients.decisions.prompt_assembly import PartsRoom
from gateway.clients.request_lanes import RequestLanes
from gateway.clients.services import GatewayRules, GatewayServices
from gateway.clients.session_attachments import SessionAttachments
from gateway.decisions.message_bucket import MessageBucket
from gateway.fetching.catch_up_reader import CatchUpReader
from gateway.fetching.decisions.resume_cursor import CursorKeys
from gateway.hubs.decisions.new_sessions import NewSessions
from gateway.hubs.session_hub import SessionHub
from gateway.hubs.session_hubs import RINGS_BYTES_MAX, SessionHubs, SessionSource, unheard
from gateway.sockets.client_writer import ClientWriter, nobody
from gateway.sockets.decisions.client_outbox import ClientOutbox, HeldBytes, OutboxLimits
from gateway.sockets.decisions.connection_limits import ConnectionLimits, SocketCounts
from gateway.sockets.gateway_metrics import GatewayMetrics
from infra.access_tokens import SecretVerifier
from infra.clock import Clock
from infra.connect_tickets import TicketIssuer
from producers.prompt_producer import PromptProducer
from schemas.client_messages import OnSlow
from schemas.identifiers import SessionKey, check_session_id, check_user_id, session_key_of
from schemas.prompt_limits import PromptLimits
from tests.fakes.access_log import AccessLog
from tests.fakes.followed_log import FollowedLog, FollowedLogReader
from tests.fakes.kept_turns import KeptTurns
from tests.fakes.recording_socket import RecordingSocket
from tests.fakes.virtual_clock import VirtualClock

__all__ = ["ALICE", "RecordedClient", "key_of", "services_over", "settled"]

ALICE = check_user_id("alice")
LOOP_ROUNDS = 60


def services_over(
    log: FollowedLog,
    reader: FollowedLogReader,
    *,
    archive: Archive | None = None,
    clock: Clock | None = None,
    message_bytes_max: int = 50_000,
    rings_bytes_max: int = RINGS_BYTES_MAX,
    on_wish: Callable[[SessionHub], None] = unheard,
) -> GatewayServices:
    """Everything a connection needs except the way to prompts."""
    clock = clock or VirtualClock()
    metrics = GatewayMetrics(clock)
    limits = ConnectionLimits()
    held = HeldBytes(limits.held_bytes_max)
    tokens = GuardedTokens(
        SecretVerifier(secret=b"s" * 32, audience="tokenwire", issuer="tokenwire"), LoggedOut(1e9), clock
    )
    hubs = SessionHubs(
        SessionSource(log, log, reader, CursorKeys([b"k" * 32])),
        clock,
        message_bytes_max=message_bytes_max,
        rings_bytes_max=rings_bytes_max,
        on_wish=on_wish,
    )
    return GatewayServices(
        rules=GatewayRules(
            tokens=tokens,
            prompt_limits=PromptLimits(),
            outbox_limits=OutboxLimits(rollup_s=0.0, settle_s=0.0),
            connection_limits=limits,
        ),
        hubs=hubs,
        reader=reader,
        log_client=log,
        catch_up=CatchUpReader([log]),
        archive=ArchiveReader(archive or KeptTurns(), metrics, clock),
        producer=cast(PromptProducer, None),
        access=AccessDesk(tokens, TicketIssuer(b"k" * 32), AccessLog(), clock),
        sockets=SocketCounts(limits),
        message_rate=MessageBucket(1_000_000, 1_000_000.0, now_s=0.0),
        held_bytes=held,
        parts_room=PartsRoom(limits.held_bytes_max // 8, held),
        new_sessions=NewSessions(1_000, 10_000, now_s=clock.monotonic_s()),
        clock=clock,
        metrics=metrics,
    )


class RecordedClient:
    """One client's sessions over a recording socket."""

    def __init__(self, services: GatewayServices, tasks: asyncio.TaskGroup, *, slow: bool = False) -> None:
        self.socket = RecordingSocket(slow=slow)
        self.evicted = False
        self.writer = ClientWriter(
            self.socket, ClientOutbox(services.rules.outbox_limits, services.held_bytes), self.evict, nobody
        )
        self.lanes = RequestLanes(tasks)
        self.attachments = SessionAttachments(services, self.writer, ALICE, tasks, self.lanes)

    def evict(self) -> None:
        """Too slow: follow nothing any more."""
        self.evicted = True
        self.attachments.close()

    async def attach(self, session: str, from_: str, *, on_slow: OnSlow = "log") -> None:
        """As the connection does."""
        wish = self.attachments.wish(session, from_)
        if wish is not None:
            await self.attachments.attach(session, wish, on_slow=on_slow)


def key_of(session: str) -> SessionKey:
    """Alice's key for it."""
    return session_key_of(ALICE, check_session_id(session))


async def settled() -> None:
    """Let everything run that can."""
    for _ in range(LOOP_ROUNDS):
        await asyncio.sleep(0)
