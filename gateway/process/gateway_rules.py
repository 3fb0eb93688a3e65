"""The rules of a gateway, made from its settings: what every connection lives by, and how memory is shared out."""

from __future__ import annotations

from typing import Final

from gateway.access.access_desk import GuardedTokens
from gateway.access.decisions.logged_out import LoggedOut
from gateway.clients.services import GatewayRules
from gateway.decisions.message_bucket import MessageBucket
from gateway.fetching.decisions.resume_cursor import CursorKeys
from gateway.hubs.decisions.new_sessions import NewSessions
from gateway.hubs.decisions.session_messages import MESSAGE_BYTES_MAX
from gateway.sockets.decisions.client_outbox import OutboxLimits
from gateway.sockets.decisions.connection_limits import ConnectionLimits
from gateway.sockets.doorway import files_for_sockets
from infra.access_tokens import SecretVerifier, TokenVerifier
from infra.clock import Clock
from infra.connect_tickets import TicketIssuer
from infra.keys import load_or_create_secret, token_secret
from infra.settings import Settings
from infra.targets.presets import is_simulated
from infra.targets.targets_file import load_catalogue
from infra.token_keys import KeySetVerifier
from schemas.prompt_limits import PromptLimits

__all__ = [
    "cursor_keys",
    "message_bytes_max",
    "new_sessions",
    "parts_share",
    "process_rate",
    "ring_share",
    "rules_of",
    "ticket_issuer",
]

DAY_S: Final = 86_400.0
PENDING_ROOM: Final = 2_400
"""Sockets accepted beyond those that may stay: for handshakes, the page and metrics."""


def rules_of(settings: Settings, clock: Clock) -> GatewayRules:
    """What every connection lives by. Raises CatalogueError, KeyFileFaulty where a file is faulty."""
    catalogue = load_catalogue(settings, keys_needed=False).catalogue
    return GatewayRules(
        tokens=guarded_tokens(settings, clock),
        prompt_limits=PromptLimits(prompt_bytes_max=settings.prompt_bytes_max, models=catalogue.known_models),
        outbox_limits=OutboxLimits.within(settings.connection_bytes_max),
        connection_limits=ConnectionLimits(
            accepted_max=min(settings.gateway_sockets_max + PENDING_ROOM, files_for_sockets()),
            sockets_max=settings.gateway_sockets_max,
            sockets_per_user_max=settings.user_sockets_max,
            held_bytes_max=settings.gateway_bytes_max - ring_share(settings),
        ),
        models=catalogue.known_models,
        simulated=all(map(is_simulated, catalogue.targets.values())),
        frame_bytes_max=settings.frame_bytes_max,
        requires_origin=settings.gateway_requires_origin,
        drain_s=settings.gateway_drain_s,
        drain_clients_per_s=settings.gateway_drain_clients_per_s,
    )


def guarded_tokens(settings: Settings, clock: Clock) -> GuardedTokens:
    """Tokens, and logouts. Raises KeyFileFaulty."""
    return GuardedTokens(token_verifier(settings, clock), LoggedOut(settings.auth_token_days_max * DAY_S), clock)


def ticket_issuer(settings: Settings) -> TicketIssuer:
    """Every gateway has the cursors' secret, whoever issues the tokens."""
    return TicketIssuer(signing_secret(settings))


def token_verifier(settings: Settings, clock: Clock) -> TokenVerifier:
    """The keys of TOKENWIRE_AUTH_JWKS alone, else the secret alone. Raises KeyFileFaulty."""
    audience, issuer, leeway_s = settings.auth_audience, settings.auth_issuer, settings.auth_leeway_s
    if settings.auth_jwks is not None:
        return KeySetVerifier(settings.auth_jwks, clock, audience=audience, issuer=issuer, leeway_s=leeway_s)
    return SecretVerifier(secret=token_secret(settings), audience=audience, issuer=issuer, leeway_s=leeway_s)


def ring_share(settings: Settings) -> int:
    """Of the bytes that the gateway may hold, those for the newest messages of sessions; the rest is for clients."""
    return settings.gateway_bytes_max * 3 // 8


def parts_share(settings: Settings) -> int:
    """Of the same bytes, those for long prompts on their way in parts; they count among those for clients."""
    return settings.gateway_bytes_max // 8


def process_rate(limits: ConnectionLimits, clock: Clock) -> MessageBucket:
    return MessageBucket(limits.process_message_burst, limits.process_messages_per_s, now_s=clock.monotonic_s())


def new_sessions(settings: Settings, clock: Clock) -> NewSessions:
    """How many sessions may begin."""
    return NewSessions(settings.user_new_sessions_per_h, settings.gateway_new_sessions_per_h, now_s=clock.monotonic_s())


def cursor_keys(settings: Settings) -> CursorKeys:
    previous = settings.cursor_secret_previous.get_secret_value().encode()
    signing = signing_secret(settings)
    return CursorKeys([signing, previous] if previous else [signing])


def signing_secret(settings: Settings) -> bytes:
    return settings.cursor_secret.get_secret_value().encode() or load_or_create_secret(settings.home / "keys", "cursor")


def message_bytes_max(settings: Settings) -> int:
    """With a small cap, messages are made smaller, so that one never fills a connection's outbox alone."""
    return min(MESSAGE_BYTES_MAX, settings.connection_bytes_max // 2)
