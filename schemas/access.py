"""What gateways tell each other about who may come in: logouts, and connect tickets and sign-in codes that were used.

Logouts lie on `tokenwire.access`, keyed by the user and compacted: one record for each user who ever logged out, and
seldom some more. Uses of tickets and codes lie on `tokenwire.tickets` for an hour; a ticket lives for seconds, a code
for minutes. Each topic has one partition, so that all gateways see the same order, and of two uses of a ticket the same
one first.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

__all__ = ["AccessEvent", "TicketUsed", "UserLoggedOut"]

TOLD_AGAIN_KEYS: Final = 256
"""More than twice as many seconds as clocks may differ by."""


class UserLoggedOut(msgspec.Struct, frozen=True, omit_defaults=True, tag="user.logged_out", kw_only=True):
    """Tokens of the user that were issued up to this moment open nothing any more."""

    user: str
    at_s: float
    """Seconds since 1970, by the clock of the gateway that was asked. What counts is never later than the broker's
    stamp."""
    issued_until_s: float = 0.0
    """Set where a logout is told again, by a gateway that has seen tokens of the user which were issued after it, up to
    this moment: an issuer's clock may be ahead."""

    @property
    def key(self) -> bytes:
        """Compaction keeps each user's newest logout; what is told again must not take its place.

        Nor must it take that of what another gateway tells again. It is more than a logout by a minute at most, so
        where two of a user share a key, the later one tells more.
        """
        if not self.issued_until_s:
            return self.user.encode()
        return f"{self.user}\0{int(self.issued_until_s) % TOLD_AGAIN_KEYS}".encode()


class TicketUsed(msgspec.Struct, frozen=True, omit_defaults=True, tag="ticket.used", kw_only=True):
    """A gateway wants to let a client in on a ticket, or to exchange a sign-in code.

    The first claim of a ticket or code on the log is the one that counts.
    """

    ticket: str
    """The id of the ticket or code, not itself."""
    claim: str
    """Random, to tell one's own claim by."""
    expires_at_s: float
    """When the ticket is void anyhow, in seconds since 1970."""


AccessEvent: TypeAlias = UserLoggedOut | TicketUsed
