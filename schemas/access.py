"""What gateways tell each other about who may come in: logouts, and connect tickets that were used.

Logouts lie on `tokenwire.access`, keyed by the user and compacted: one record for each user who ever logged out. Uses
of tickets lie on `tokenwire.tickets` for an hour; a ticket lives for seconds. Each topic has one partition, so that all
gateways see the same order, and of two uses of a ticket the same one first.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

__all__ = ["AccessEvent", "TicketUsed", "UserLoggedOut"]


class UserLoggedOut(msgspec.Struct, frozen=True, omit_defaults=True, tag="user.logged_out", kw_only=True):
    """Tokens of the user that were issued up to this moment open nothing any more."""

    user: str
    at_s: float
    """Seconds since 1970."""


class TicketUsed(msgspec.Struct, frozen=True, omit_defaults=True, tag="ticket.used", kw_only=True):
    """A gateway wants to let a client in on a ticket. The first claim of a ticket on the log is the one that counts."""

    ticket: str
    """The ticket's id, not the ticket."""
    claim: str
    """Random, to tell one's own claim by."""
    expires_at_s: float
    """When the ticket is void anyhow, in seconds since 1970."""


AccessEvent: TypeAlias = UserLoggedOut | TicketUsed
