"""The gateway as a process: wires its parts, serves until told to stop, and leaves in good order.

Start: connect to Kafka, follow, listen, then say which port. Stop: accept no more, tell every client to come back
(1012, with its cursors), close, all within `gateway_leave_s`; whoever is not gone by then is dropped and resumes
elsewhere from its own cursors.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from functools import partial
from typing import Final, Protocol

import structlog
import uvloop
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.typing import Subprotocol

from gateway.access_desk import AccessDesk
from gateway.access_reader import AccessReader
from gateway.active_sessions import ActiveSessions
from gateway.activity_reader import ActivityReader
from gateway.archive_reader import ARCHIVE_S, ARCHIVE_TEXT_BYTES_MAX, ArchiveReader
from gateway.catch_up_reader import CATCH_UP_CONNECTIONS, CatchUpReader
from gateway.client_connection import ClientConnection
from gateway.client_socket import ClientSocket
from gateway.close_codes import INTERNAL_ERROR, RESTARTING
from gateway.decisions.client_outbox import HeldBytes, OutboxState
from gateway.decisions.collection_rule import Relief, relief_due
from gateway.decisions.connection_limits import SocketCounts, relieved
from gateway.decisions.drain_plan import drain_slots
from gateway.decisions.prompt_parts import PartsRoom
from gateway.doorway import Doorway
from gateway.fetch_session_reader import FetchSessionReader
from gateway.gateway_metrics import GatewayMetrics
from gateway.gateway_rules import (
    cursor_keys,
    message_bytes_max,
    new_sessions,
    parts_share,
    process_rate,
    ring_share,
    rules_of,
    ticket_issuer,
)
from gateway.http_routes import HttpRoutes, allowed_origins, leave_out_body
from gateway.listening import bound_listener
from gateway.page_files import load_page_files
from gateway.readiness import Readiness
from gateway.services import GatewayServices
from gateway.session_hubs import RINGS_BYTES_MAX, SessionHubs, SessionSource
from gateway.session_watches import SessionWatches
from gateway.spread_work import spread
from gateway.stop_times import CLOSING_S, ENDING_S, gateway_leave_s
from infra.clickhouse.answer_archive import AnswerArchive
from infra.clock import Clock, SystemClock
from infra.embedded.ready_notices import notice_ready
from infra.host_names import known_names
from infra.interpreter_settings import collect_on_request, collect_young, give_back, settle_interpreter, trim
from infra.kafka.broker_check import check_brokers
from infra.kafka.log_client import LogClient
from infra.kafka.lost_range import LostRange
from infra.kafka.session_topics import SessionTopics
from infra.settings import Settings
from producers.prompt_producer import PromptProducer
from schemas.client_messages import SUBPROTOCOL
from schemas.identifiers import UserId

__all__ = ["Gateway", "run_gateway", "serve_gateway"]

log = structlog.get_logger(__name__)

CONNECTIONS_AT_ONCE: Final = 32
"""Looked at before other work gets its turn; each takes some 7 µs."""
SESSIONS_AT_ONCE: Final = 128
"""The same; each takes 1 µs."""
CONNECTIONS_SHARE: Final = 0.6
SESSIONS_SHARE: Final = 0.3
"""Of the time between two looks at everybody, over which the looks are spread."""
FRAMES_WAITING_MAX: Final = 4
ACCEPT_WAITING_MAX: Final = 4_096
"""Connections that the kernel keeps until they are accepted (at most `net.core.somaxconn`). Beyond it a client is not
refused: the kernel drops what it sends, and it waits for a second, then three, seven, fifteen …"""
GATEWAY_NAME_BYTES: Final = 8


class Part(Protocol):
    """Something of the gateway that is started and stopped."""

    async def start(self) -> None:
        """Begin."""
        ...

    async def stop(self) -> None:
        """End."""
        ...


class Gateway:
    """A running gateway; made by `serve_gateway`."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.metrics = GatewayMetrics(clock)
        self.readiness = Readiness(settings, clock)
        self.rules = rules_of(settings, clock)
        limits = self.rules.connection_limits
        self.held = HeldBytes(limits.held_bytes_max)
        self.doorway = Doorway(limits, self.held, self.metrics.refused)
        self.connections: set[ClientConnection] = set()
        self.empty = asyncio.Event()
        """Set while there is no connection."""
        self.empty.set()
        self.left = 0
        """Connections and sessions gone since garbage was looked for."""
        self.trimmed = 0
        """Of them, those that had gone when pages were last given back."""
        self.collected_at_s = clock.monotonic_s()
        self.collect_again = False
        self.port = settings.gateway_port
        self.server: Server | None = None
        self.services: GatewayServices | None = None
        self.watches: SessionWatches | None = None
        self.sessions: ActiveSessions | None = None

    async def passed_over(self, lost: LostRange) -> None:
        """A range of a log cannot be read."""
        self.metrics.passed_over(lost)

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        """The way to Kafka: started in order, stopped in the opposite one."""
        settings = self.settings
        async with contextlib.AsyncExitStack() as stack:
            topics, log_client = (
                SessionTopics(settings),
                LogClient(settings, role="gateway-log", on_lost=self.passed_over),
            )
            fetching = FetchSessionReader(settings, self.clock, on_lost=self.metrics.passed_over)
            reader = self.sessions = ActiveSessions(fetching, self.clock)
            reader.on_return = self.metrics.returned
            producer = PromptProducer(settings, limits=self.rules.prompt_limits, clock=self.clock)
            past = [
                LogClient(settings, role=f"gateway-past-{number}", on_lost=self.passed_over)
                for number in range(CATCH_UP_CONNECTIONS)
            ]
            access = AccessDesk(self.rules.tokens, ticket_issuer(settings), producer, self.clock)
            access.on_logged_out = self.log_out
            stack.push_async_callback(access.close)
            parts: list[Part] = [topics, log_client, *past, fetching, producer]
            parts.append(AccessReader(fetching, log_client, access, self.clock, settings.topic_names))
            if settings.topic_layout == "dedicated":
                parts.append(ActivityReader(fetching, log_client, reader, settings.topic_names.activity))
            for part in parts:
                await part.start()
                stack.push_async_callback(part.stop)
            archive = AnswerArchive(settings, query_s_max=ARCHIVE_S, text_bytes_max=ARCHIVE_TEXT_BYTES_MAX)
            stack.push_async_callback(archive.close)
            source = SessionSource(topics, log_client, reader, cursor_keys(settings))
            hubs = SessionHubs(
                source,
                self.clock,
                message_bytes_max=message_bytes_max(settings),
                rings_bytes_max=min(RINGS_BYTES_MAX, ring_share(settings)),
            )
            hubs.on_relay = self.metrics.relayed
            hubs.on_forgotten = lambda topic: forget_topic(topic, (log_client, *past))
            stack.push_async_callback(hubs.close)
            self.watches = SessionWatches(hubs, producer, self.clock, gateway=secrets.token_hex(GATEWAY_NAME_BYTES))
            hubs.on_wish = self.watches.heed
            self.services = GatewayServices(
                rules=self.rules,
                hubs=hubs,
                reader=reader,
                log_client=log_client,
                catch_up=CatchUpReader(past),
                archive=ArchiveReader(archive, self.metrics, self.clock),
                producer=producer,
                access=access,
                sockets=SocketCounts(self.rules.connection_limits),
                message_rate=process_rate(self.rules.connection_limits, self.clock),
                held_bytes=self.held,
                parts_room=PartsRoom(parts_share(settings), self.held),
                new_sessions=new_sessions(settings, self.clock),
                clock=self.clock,
                metrics=self.metrics,
            )
            yield

    async def listen(self) -> int:
        """Accept clients; returns the port. Raises PortTaken."""
        assert self.services is not None
        listener = bound_listener(
            self.settings.gateway_host, self.settings.gateway_port, reuse_port=self.settings.gateway_reuse_port
        )
        self.port = listener.getsockname()[1]
        limits = self.rules.outbox_limits
        routes = HttpRoutes(
            self.rules,
            self.services.access,
            self.metrics,
            load_page_files(),
            allowed_origins(self.settings.gateway_origins, self.port),
            known_names(self.settings.allowed_hosts, self.settings.gateway_origins),
            self.readiness.not_ready,
        )
        self.doorway.answer_outside = routes.answer_outside
        self.server = await serve(
            self.handle,
            sock=listener,
            backlog=ACCEPT_WAITING_MAX,
            # websockets declares a class and calls it
            create_connection=partial(ClientSocket, doorway=self.doorway),  # type: ignore[arg-type]
            process_request=routes,
            process_response=leave_out_body,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            server_header=None,
            max_size=self.rules.frame_bytes_max,
            max_queue=FRAMES_WAITING_MAX,
            write_limit=(limits.high_bytes, limits.low_bytes),
            open_timeout=self.rules.open_s,
            close_timeout=CLOSING_S,
            ping_interval=None,
        )
        return self.port

    async def handle(self, socket: ServerConnection) -> None:
        """Serve one client: the root of everything done for it."""
        assert isinstance(socket, ClientSocket)
        assert self.services is not None
        socket.forget_handshake()
        connection = ClientConnection(socket, self.services)
        self.connections.add(connection)
        self.empty.clear()
        try:
            await connection.run()
        except Exception:  # the root of a connection: a fault of ours costs this client only
            log.exception("connection_failed")
            connection.close(INTERNAL_ERROR)
        finally:
            self.connections.discard(connection)
            self.left += 1
            if not self.connections:
                self.empty.set()

    def log_out(self, user: UserId, at_s: float) -> None:
        """A user's tokens were ended: its connections end with them."""
        for connection in list(self.connections):
            if connection.protocol.user == user:
                connection.logged_out(at_s)

    async def tick(self) -> None:
        """Once a second, look at all that depends on time."""
        while True:
            again_at_s = self.clock.monotonic_s() + self.rules.tick_s
            await self.look_at_connections()
            services = self.services
            if services is not None:
                self.metrics.unsent_bytes.set(self.held.total)
                self.metrics.catch_up_reads.inc(services.catch_up.newly_read())
                await self.look_at_sessions(services.hubs)
                services.access.tick()
                self.rest(self.clock.monotonic_s())
                self.relieve()
            now_s = self.clock.monotonic_s()
            self.collect(now_s)
            await asyncio.sleep(max(0.0, again_at_s - now_s))

    async def look_at_sessions(self, hubs: SessionHubs) -> None:
        """A function of its own, so that what it saw last is let go of when it ends."""
        hubs.absent.look()
        over_s = SESSIONS_SHARE * self.rules.tick_s
        async for some in spread(hubs.all(), over_s, at_once=SESSIONS_AT_ONCE):
            self.left += hubs.sweep(some, self.clock.monotonic_s())

    async def look_at_connections(self) -> None:
        modes: Counter[OutboxState] = Counter()
        over_s = CONNECTIONS_SHARE * self.rules.tick_s
        async for some in spread(list(self.connections), over_s, at_once=CONNECTIONS_AT_ONCE):
            now_s, wall_s = self.clock.monotonic_s(), self.clock.now_us() / 1_000_000
            for connection in some:
                if connection in self.connections:
                    self.look_at(connection, now_s, wall_s)
                    modes[connection.writer.outbox.state] += 1
        self.metrics.rolled_up.set(modes[OutboxState.ROLLUP])
        self.metrics.from_log.set(modes[OutboxState.LOG])
        self.metrics.connections.set(len(self.connections))

    def look_at(self, connection: ClientConnection, now_s: float, wall_s: float) -> None:
        try:
            connection.tick(now_s, wall_s)
        except Exception:  # as in `handle`: the others are looked at in any case
            log.exception("connection_failed")
            connection.close(INTERNAL_ERROR)

    def rest(self, now_s: float) -> None:
        """Leave silent sessions out of the fetch."""
        sessions = self.sessions
        if sessions is not None:
            sessions.tick(now_s)
            self.metrics.sessions_fetched.set(len(sessions.fetched))
            self.metrics.sessions_left_out.set(len(sessions.left_out))

    def collect(self, now_s: float) -> None:
        """Give back what connections and sessions left behind, when that is worth the pause."""
        present, since_s = len(self.connections), now_s - self.collected_at_s
        untrimmed = self.left - self.trimmed
        relief = relief_due(
            left=self.left, untrimmed=untrimmed, present=present, since_s=since_s, again=self.collect_again
        )
        match relief:
            case Relief.COLLECT:
                self.collect_again = bool(self.left) and not present
                give_back(tables=not present)
                self.left, self.trimmed, self.collected_at_s = 0, 0, now_s
            case Relief.TRIM:
                trim()
                self.trimmed = self.left
            case Relief.NONE:
                pass

    def relieve(self) -> None:
        """Beyond the process's cap of bytes, those who owe most give up what waits for them."""
        if self.held.total < self.rules.connection_limits.held_bytes_max:
            return
        connections = list(self.connections)
        outboxes = [connection.writer.outbox for connection in connections]
        unsent = [outbox.unsent_bytes + outbox.parked_bytes for outbox in outboxes]
        for index in relieved(unsent, self.held.total, self.rules.connection_limits):
            connections[index].relieve()

    async def leave(self) -> None:
        """Accept no more, send everybody elsewhere, each at its slot, and wait for them, not for long.

        Cancellation: whoever is still here is dropped, and resumes from its own cursors.
        """
        self.readiness.draining = True
        if self.server is None:
            return
        self.server.close(close_connections=False)
        leaving = list(self.connections)
        log.info("gateway_leaves", clients=len(leaving))
        try:
            await self.drain(leaving)
            async with asyncio.timeout(CLOSING_S):
                await self.server.wait_closed()
        except TimeoutError:
            pass
        finally:
            for connection in list(self.connections):
                connection.socket.abort()
        if self.watches is not None:
            await self.watches.leave()
        log.info("gateway_left", clients=len(leaving))

    async def drain(self, leaving: list[ClientConnection]) -> None:
        """Tell each client its slot, serve it until then, and close it there; over early when all have gone."""
        slots = drain_slots(
            [connection.is_streaming() for connection in leaving],
            window_s_max=self.rules.drain_s,
            per_s=self.rules.drain_clients_per_s,
        )
        began_s = asyncio.get_running_loop().time()
        for slot in slots:
            leaving[slot.index].drain(slot.at_s)
        for slot in slots:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(began_s + slot.at_s):
                    await self.empty.wait()
            if leaving[slot.index] in self.connections:
                leaving[slot.index].close(RESTARTING)
        for connection in list(self.connections):  # those that were still in the doorway when the others were told
            connection.close(RESTARTING)


def forget_topic(topic: str, clients: Iterable[LogClient]) -> None:
    """Of a session that nobody needs nothing stays."""
    for client in clients:
        client.forget(topic)


async def serve_gateway(
    settings: Settings,
    *,
    stop: asyncio.Event,
    on_ready: Callable[[int], None] | None = None,
    clock: Clock | None = None,
) -> None:
    """Serve until `stop` is set; `on_ready` hears the port. Raises PortTaken, BrokersUnfit, LogError, ProducerError,
    and what one of its own loops has failed with; the clients are then sent elsewhere as if it had been told to stop.

    Cancellation: clients are dropped; they resume from their own cursors.
    """
    await check_brokers(settings)
    gateway = Gateway(settings, clock or SystemClock())
    async with gateway.connected():
        port = await gateway.listen()
        assert gateway.watches is not None
        going = (
            asyncio.create_task(gateway.tick(), name="gateway-tick"),
            asyncio.create_task(gateway.watches.run(), name="gateway-watches"),
        )
        try:
            log.info("gateway_ready", host=settings.gateway_host, port=port)
            if on_ready is not None:
                on_ready(port)
            await until_told(stop, going)
        finally:
            await gateway.leave()
            for task in going:
                task.cancel()
            await asyncio.gather(*going, return_exceptions=True)


async def until_told(stop: asyncio.Event, going: Sequence[asyncio.Task[None]]) -> None:
    """Until `stop` is set. Raises what a task has failed with that must go on until then.

    Without them nobody is pinged, timed out or left out any more: better another process than this one.
    """
    stopped = asyncio.create_task(stop.wait(), name="gateway-stop")
    try:
        await asyncio.wait((stopped, *going), return_when=asyncio.FIRST_COMPLETED)
        for task in going:
            if task.done():
                log.error("gateway_part_ended", part=task.get_name())
                task.result()
    finally:
        stopped.cancel()


def run_gateway(settings: Settings, *, on_ready: Callable[[int], None] | None = None) -> None:
    """Run a gateway on its own uvloop until SIGTERM or SIGINT. Raises as `serve_gateway` does."""

    def settle(port: int) -> None:
        settle_interpreter()
        collect_on_request()
        notice_ready()
        if on_ready is not None:
            on_ready(port)

    uvloop.run(until_signalled(settings, settle))


async def until_signalled(settings: Settings, on_ready: Callable[[int], None]) -> None:
    """Serve until a signal; a second one drops the clients at once."""
    stop, now = asyncio.Event(), asyncio.Event()

    def signalled() -> None:
        (now if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signalled)
    serving = asyncio.create_task(serve_gateway(settings, stop=stop, on_ready=on_ready), name="gateway")
    stopped = asyncio.create_task(stop.wait(), name="gateway-stop")
    hurried = asyncio.create_task(now.wait(), name="gateway-hurry")
    collecting = asyncio.create_task(collect_young(), name="gateway-young")
    await asyncio.wait((serving, stopped), return_when=asyncio.FIRST_COMPLETED)
    left_s = gateway_leave_s(settings.gateway_drain_s)
    await asyncio.wait((serving, hurried), timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
    for task in (stopped, hurried, collecting):
        task.cancel()
    if not serving.done():
        serving.cancel()
        await asyncio.wait((serving,), timeout=ENDING_S)
        return
    await serving
