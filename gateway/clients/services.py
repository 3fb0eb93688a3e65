"""What every connection of a gateway shares: the rules, the sessions, the way to Kafka, the clocks and the metrics."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.access.access_desk import AccessDesk, GuardedTokens
from gateway.clients.archive_reader import ArchiveReader
from gateway.clients.decisions.prompt_assembly import PartsRoom
from gateway.decisions.message_bucket import MessageBucket
from gateway.fetching.catch_up_reader import CatchUpReader
from gateway.fetching.log_reader import PastReader, SessionReader
from gateway.hubs.decisions.new_sessions import NewSessions
from gateway.hubs.session_hubs import SessionHubs
from gateway.sockets.decisions.client_outbox import HeldBytes, OutboxLimits
from gateway.sockets.decisions.connection_limits import ConnectionLimits, SocketCounts
from gateway.sockets.gateway_metrics import GatewayMetrics
from infra.clock import Clock
from producers.prompt_producer import PromptProducer
from schemas.prompt_limits import PromptLimits

__all__ = ["GatewayRules", "GatewayServices"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayRules:
    """The numbers and names that a connection lives by."""

    tokens: GuardedTokens
    prompt_limits: PromptLimits
    outbox_limits: OutboxLimits
    connection_limits: ConnectionLimits
    models: tuple[str, ...] = ()
    simulated: bool = False
    frame_bytes_max: int = 65_536
    requires_origin: bool = False
    """Whether only pages may connect."""
    open_s: float = 5.0
    """From the accepted socket to the end of the handshake."""
    hello_s: float = 5.0
    """From the handshake to a good hello."""
    ping_s: float = 20.0
    """Between our pings."""
    pong_s: float = 20.0
    """From a ping to any word of the client's."""
    tick_s: float = 1.0
    """How often everything is looked at that depends on time."""
    closing_s: float = 5.0
    """How long a socket may linger after our close frame."""
    stranger_closing_s: float = 2.0
    """The same for one that never said a good hello: whoever does not speak does not answer a close frame either."""
    attach_s: float = 5.0
    """From an attach to its answer."""
    drain_s: float = 5.0
    """Longest time over which the clients of a leaving gateway are sent elsewhere."""
    drain_clients_per_s: float = 1_000.0
    """So many a second, if that takes less."""
    publish_s: float = 2.0
    """From a prompt to its answer."""
    retry_after_s: float = 1.0
    """When to try again what Kafka did not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayServices:
    """Everything a connection needs."""

    rules: GatewayRules
    hubs: SessionHubs
    reader: SessionReader
    log_client: PastReader
    catch_up: CatchUpReader
    archive: ArchiveReader
    producer: PromptProducer
    access: AccessDesk
    sockets: SocketCounts
    message_rate: MessageBucket
    held_bytes: HeldBytes
    parts_room: PartsRoom
    new_sessions: NewSessions
    clock: Clock
    metrics: GatewayMetrics
