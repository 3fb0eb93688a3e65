"""The way to Kafka and everything that needs it: started in order, stopped in the opposite one."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Final, Protocol

from gateway.access.access_desk import AccessDesk
from gateway.access.access_reader import AccessReader
from gateway.clients.archive_reader import ARCHIVE_S, ARCHIVE_TEXT_BYTES_MAX, ArchiveReader
from gateway.clients.decisions.prompt_assembly import PartsRoom
from gateway.clients.services import GatewayRules, GatewayServices
from gateway.fetching.active_sessions import ActiveSessions
from gateway.fetching.activity_reader import ActivityReader
from gateway.fetching.catch_up_reader import CATCH_UP_CONNECTIONS, CatchUpReader
from gateway.fetching.fetch_session_reader import FetchSessionReader
from gateway.hubs.reader_reports import ReaderReports
from gateway.hubs.session_hubs import RINGS_BYTES_MAX, SessionHubs, SessionSource
from gateway.process.gateway_rules import (
    cursor_keys,
    message_bytes_max,
    new_sessions,
    parts_share,
    process_rate,
    ring_share,
    ticket_issuer,
)
from gateway.sockets.decisions.client_outbox import HeldBytes
from gateway.sockets.decisions.connection_limits import SocketCounts
from gateway.sockets.gateway_metrics import GatewayMetrics
from infra.clickhouse.answer_archive import AnswerArchive
from infra.clock import Clock
from infra.kafka.log_client import LogClient
from infra.kafka.lost_range import LostRange
from infra.kafka.session_topics import SessionTopics
from infra.settings import Settings
from infra.sign_in_codes import SignInCodes
from producers.prompt_producer import PromptProducer
from schemas.identifiers import UserId

__all__ = ["connected_services"]

GATEWAY_NAME_BYTES: Final = 8


class Part(Protocol):
    """Something of the gateway that is started and stopped."""

    async def start(self) -> None:
        """Begin."""

    async def stop(self) -> None:
        """End."""


@contextlib.asynccontextmanager
async def connected_services(
    settings: Settings, rules: GatewayRules, clock: Clock, on_logged_out: Callable[[UserId, float], None]
) -> AsyncIterator[tuple[GatewayServices, ReaderReports]]:
    """What every connection shares, and the reports on who follows a session, which somebody has to run.

    Raises LogError, ProducerError.
    """
    metrics, limits = GatewayMetrics(clock), rules.connection_limits
    async with contextlib.AsyncExitStack() as stack:
        topics, (current, *past) = SessionTopics(settings), log_clients(settings, metrics)
        fetching = FetchSessionReader(settings, clock, on_lost=metrics.passed_over)
        reader = ActiveSessions(fetching, clock, on_return=metrics.returned)
        producer = PromptProducer(settings, limits=rules.prompt_limits, clock=clock)
        access = AccessDesk(
            rules.tokens,
            ticket_issuer(settings),
            producer,
            clock,
            on_logged_out=on_logged_out,
            codes=SignInCodes.from_settings(settings),
            on_dropped=metrics.logout_dropped,
        )
        stack.push_async_callback(access.close)
        parts: list[Part] = [topics, current, *past, fetching, producer]
        parts.append(AccessReader(fetching, current, access, clock, settings.topic_names))
        if settings.topic_layout == "dedicated":
            parts.append(ActivityReader(fetching, current, reader, settings.topic_names.activity))
        await start(parts, stack)
        archive = AnswerArchive(settings, query_s_max=ARCHIVE_S, text_bytes_max=ARCHIVE_TEXT_BYTES_MAX)
        stack.push_async_callback(archive.close)
        reports = ReaderReports(producer, clock, gateway=secrets.token_hex(GATEWAY_NAME_BYTES))
        hubs = SessionHubs(
            SessionSource(topics, current, reader, cursor_keys(settings)),
            clock,
            message_bytes_max=message_bytes_max(settings),
            rings_bytes_max=min(RINGS_BYTES_MAX, ring_share(settings)),
            on_relay=metrics.relayed,
            on_holes=metrics.holes.inc,
            on_wish=reports.heed,
            on_forgotten=lambda topic: forget_topic(topic, (current, *past)),
        )
        stack.push_async_callback(hubs.close)
        held = HeldBytes(limits.held_bytes_max)
        yield (
            GatewayServices(
                rules=rules,
                hubs=hubs,
                reader=reader,
                log_client=current,
                catch_up=CatchUpReader(past),
                archive=ArchiveReader(archive, metrics, clock),
                producer=producer,
                access=access,
                sockets=SocketCounts(limits),
                message_rate=process_rate(limits, clock),
                held_bytes=held,
                parts_room=PartsRoom(parts_share(settings), held),
                new_sessions=new_sessions(settings, clock),
                clock=clock,
                metrics=metrics,
            ),
            reports,
        )


async def start(parts: Iterable[Part], stack: contextlib.AsyncExitStack) -> None:
    """One after the other; each is stopped with the stack."""
    for part in parts:
        await part.start()
        stack.push_async_callback(part.stop)


def log_clients(settings: Settings, metrics: GatewayMetrics) -> list[LogClient]:
    """One for what opens sessions, then those for clients that catch up."""

    async def passed_over(lost: LostRange) -> None:
        metrics.passed_over(lost)

    roles = ("gateway-log", *(f"gateway-past-{number}" for number in range(CATCH_UP_CONNECTIONS)))
    return [LogClient(settings, role=role, on_lost=passed_over) for role in roles]


def forget_topic(topic: str, clients: Iterable[LogClient]) -> None:
    """Of a session that nobody needs nothing stays."""
    for client in clients:
        client.forget(topic)
