"""Which claim of a connect ticket counts: the first one on the log.

Every gateway reads the same log, so all agree; a gateway lets a client in once it has read its own claim as the first
of its ticket. Claims of a ticket that is void by its time are of no use to anybody and are forgotten.

Memory: an entry per ticket used within its life of seconds, `TICKETS_MAX` at most. Beyond that the oldest are
forgotten, which the signed time in a ticket makes harmless once it has passed.
"""

from __future__ import annotations

from typing import Final

__all__ = ["TICKETS_MAX", "TicketClaims"]

TICKETS_MAX: Final = 100_000


class TicketClaims:
    """First claims by ticket."""

    __slots__ = ("first",)

    def __init__(self) -> None:
        self.first: dict[str, tuple[str, float]] = {}

    def heard(self, ticket: str, claim: str, expires_at_s: float) -> str:
        """A claim lies on the log; the claim that counts."""
        known = self.first.setdefault(ticket, (claim, expires_at_s))
        if len(self.first) > TICKETS_MAX:
            del self.first[next(iter(self.first))]
        return known[0]

    def forget(self, now_s: float) -> None:
        """Drop tickets that are void by now."""
        for ticket in [ticket for ticket, (_, expires_at_s) in self.first.items() if expires_at_s < now_s]:
            del self.first[ticket]
