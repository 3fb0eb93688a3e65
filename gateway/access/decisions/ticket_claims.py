"""Which claim of a ticket counts: the first one on the log.

Every gateway reads the same log, so all agree; a gateway lets a client in once it has read its own claim as the first
of its ticket. Claims of a ticket that is void by its time are of no use to anybody and are forgotten.

Memory: an entry per ticket used within its life (seconds, of sign-in codes minutes), `TICKETS_MAX` at most. Beyond that
those go that are void first, so that however many tickets are used, a code's claim outlives them.

Cost: the logarithm of what is remembered, for each claim heard and each one forgotten.
"""

from __future__ import annotations

import heapq
from typing import Final

__all__ = ["TICKETS_MAX", "TicketClaims"]

TICKETS_MAX: Final = 100_000


class TicketClaims:
    """First claims by ticket."""

    __slots__ = ("first", "void_at")

    def __init__(self) -> None:
        self.first: dict[str, str] = {}
        self.void_at: list[tuple[float, str]] = []
        """A heap: when each ticket is void."""

    def heard(self, ticket: str, claim: str, expires_at_s: float) -> str:
        """A claim lies on the log; the claim that counts."""
        if ticket in self.first:
            return self.first[ticket]
        self.first[ticket] = claim
        heapq.heappush(self.void_at, (expires_at_s, ticket))
        if len(self.first) > TICKETS_MAX:
            self.forget_next()
        return claim

    def forget(self, now_s: float) -> None:
        """Drop tickets that are void by now."""
        while self.void_at and self.void_at[0][0] < now_s:
            self.forget_next()

    def forget_next(self) -> None:
        del self.first[heapq.heappop(self.void_at)[1]]
