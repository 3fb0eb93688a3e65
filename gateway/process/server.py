"""The gateway as a process: wires its parts, serves until told to stop, and leaves in good order.

Start: connect to Kafka, follow, listen, then say which port. Stop: accept no more, tell every client to come back
(1012, with its cursors), close, all within `gateway_leave_s`; whoever is not gone by then is dropped and resumes
elsewhere from its own cursors.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog
import uvloop
from websockets.asyncio.server import serve
from websockets.typing import Subprotocol

from gateway.clients.services import GatewayServices
from gateway.hubs.reader_reports import ReaderReports
from gateway.process.connected_services import connected_services
from gateway.process.decisions.stop_times import CLOSING_S, ENDING_S, gateway_leave_s
from gateway.process.departure import Departure
from gateway.process.gateway_rules import rules_of
from gateway.process.http_routes import HttpRoutes, allowed_origins, leave_out_body
from gateway.process.listening import bound_listener
from gateway.process.memory_relief import MemoryRelief
from gateway.process.open_connections import OpenConnections
from gateway.process.page_files import load_page_files
from gateway.process.readiness import Readiness
from gateway.process.upkeep import Upkeep
from gateway.sockets.client_socket import ClientSocket
from gateway.sockets.doorway import Doorway
from infra.async_waits import end_tasks
from infra.clock import SystemClock
from infra.embedded.ready_notices import notice_ready
from infra.host_names import known_names
from infra.interpreter_settings import collect_on_request, collect_young, settle_interpreter
from infra.kafka.broker_check import check_brokers
from infra.settings import Settings
from schemas.client_messages import SUBPROTOCOL

__all__ = ["Gateway", "open_gateway", "run_gateway", "serve_gateway", "until_told"]

log = structlog.get_logger(__name__)

FRAMES_WAITING_MAX: Final = 4
ACCEPT_WAITING_MAX: Final = 4_096
"""Connections that the kernel keeps until they are accepted (at most `net.core.somaxconn`). Beyond it a client is not
refused: the kernel drops what it sends, and it waits for a second, then three, seven, fifteen …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """A gateway that listens; made by `open_gateway`. Somebody has to run its upkeep, and to leave in the end."""

    services: GatewayServices
    connections: OpenConnections
    upkeep: Upkeep
    departure: Departure
    port: int


async def open_gateway(
    settings: Settings, services: GatewayServices, connections: OpenConnections, reports: ReaderReports
) -> Gateway:
    """Accept clients. Raises PortTaken."""
    rules, readiness = services.rules, Readiness(settings, services.clock)
    listener = bound_listener(settings.gateway_host, settings.gateway_port, reuse_port=settings.gateway_reuse_port)
    port = listener.getsockname()[1]
    routes = HttpRoutes(
        rules,
        services.access,
        services.metrics,
        load_page_files(),
        allowed_origins(settings.gateway_origins, port),
        known_names(settings.allowed_hosts, settings.gateway_origins),
        readiness.not_ready,
    )
    doorway = Doorway(rules.connection_limits, services.held_bytes, services.metrics.refused, routes.answer_outside)
    server = await serve(
        partial(connections.serve, services),
        sock=listener,
        backlog=ACCEPT_WAITING_MAX,
        # websockets declares a class and calls it
        create_connection=partial(ClientSocket, doorway=doorway),  # type: ignore[arg-type]
        process_request=routes,
        process_response=leave_out_body,
        subprotocols=[Subprotocol(SUBPROTOCOL)],
        compression=None,
        server_header=None,
        max_size=rules.frame_bytes_max,
        max_queue=FRAMES_WAITING_MAX,
        write_limit=(rules.outbox_limits.high_bytes, rules.outbox_limits.low_bytes),
        open_timeout=rules.open_s,
        close_timeout=CLOSING_S,
        ping_interval=None,
    )
    return Gateway(
        services=services,
        connections=connections,
        upkeep=Upkeep(services, connections, MemoryRelief(services, connections)),
        departure=Departure(rules, connections, server, readiness, reports.leave),
        port=port,
    )


async def serve_gateway(
    settings: Settings, *, stop: asyncio.Event, on_ready: Callable[[int], None] | None = None
) -> None:
    """Serve until `stop` is set; `on_ready` hears the port. Raises PortTaken, BrokersUnfit, LogError, ProducerError,
    and what one of its own loops has failed with; the clients are then sent elsewhere as if it had been told to stop.

    Cancellation: clients are dropped; they resume from their own cursors.
    """
    await check_brokers(settings)
    clock, connections = SystemClock(), OpenConnections()
    rules = rules_of(settings, clock)
    async with connected_services(settings, rules, clock, connections.log_out) as (services, reports):
        gateway = await open_gateway(settings, services, connections, reports)
        going = (
            asyncio.create_task(gateway.upkeep.run(), name="gateway-tick"),
            asyncio.create_task(reports.run(services.hubs), name="gateway-watches"),
        )
        try:
            log.info("gateway_ready", host=settings.gateway_host, port=gateway.port)
            if on_ready is not None:
                on_ready(gateway.port)
            await until_told(stop, going)
        finally:
            await gateway.departure.leave()
            await end_tasks(*going)


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
