"""Who has logged out, and what that ends.

Two rules, since a token may be in a socket or in somebody's hand:

- *By place.* Logouts lie on one log in one order. Whoever checks a token notes how far that log had been heard; a
  logout that lies behind that place ends whatever was let in by it: sockets, handshakes, tickets, whatever the
  token's own times are. No clock has a part in it, and a ticket takes its place along to other gateways.
- *By time.* A token carries the second in which it was issued, so a logout ends every token issued in its second or
  before: one that was issued later in that very second is refused as well, and asking again a second later helps. A
  token that does not say when it was issued counts as issued at the beginning of time: the first logout ends it.

The moment of a logout is what its gateway said, but never later than the broker's stamp: a clock that is ahead must not
keep a user out. Where issuers' clocks are ahead of ours, a token may be issued "after" the logout that should end it.
So the newest time of issue that was seen of a user is remembered for a while (`SEEN_S`), and a logout reaches up to it;
what one gateway has seen it tells the others (`Heard.tells_s`).

Logouts are remembered for as long as a token may be old: a token older than `age_s_max` is refused in any case, so
forgetting a logout can't bring one back. Such a token must say its age; where logouts are forgotten, one that does not
could come back, and is refused after a logout for `age_s_max` only.

Memory: an entry per user who logged out within that time, `USERS_MAX` at most; beyond that the oldest are forgotten,
and every token as old as they are is refused, whoever's it is. An entry per user seen lately, `SEEN_MAX` at most.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from schemas.identifiers import UserId

__all__ = ["CLOCKS_DIFFER_S", "SEEN_MAX", "USERS_MAX", "Heard", "LoggedOut", "Logout"]

USERS_MAX: Final = 200_000
SEEN_MAX: Final = 100_000
CLOCKS_DIFFER_S: Final = 60.0
"""At most: no setting allows a token to be issued later than that after now."""
SEEN_S: Final = 600.0
"""More than clocks differ and gateways lag behind the log, taken together."""
NEVER_S: Final = float("-inf")


@dataclass(frozen=True, slots=True)
class Logout:
    """The newest logout of a user."""

    until_s: float
    """Tokens issued up to this second are ended."""
    place: int
    """Where it lies on the log."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of a word about a logout."""

    ends: bool
    """Whether it may end something that was open."""
    tells_s: float | None = None
    """Up to when this gateway has seen tokens of the user; the others do not know."""
    drops: bool = False
    """Whether the oldest logout was forgotten for it."""


class LoggedOut:
    """All logouts that are remembered, in the order in which they were heard of."""

    __slots__ = ("age_s_max", "base", "forgotten_until_s", "logouts", "place", "seen")

    def __init__(self, age_s_max: float) -> None:
        self.age_s_max = age_s_max
        self.logouts: dict[UserId, Logout] = {}
        self.seen: dict[UserId, float] = {}
        """Newest time of issue of a token that was believed, where that is not long ago."""
        self.forgotten_until_s = NEVER_S
        """Tokens issued up to this second are not believed: their logouts were dropped for want of room."""
        self.base = 0
        self.place = 0
        """Up to where the log was heard."""

    def start_over(self) -> None:
        """The log is read from its start again, perhaps another one: what comes now lies behind all that was heard."""
        self.base = self.place

    def advance(self, offset: int) -> int:
        """A record was read; its place."""
        place = self.base + offset
        self.place = max(self.place, place + 1)
        return place

    def saw(self, user: UserId, issued_at_s: float, now_s: float) -> None:
        """A token was believed."""
        if issued_at_s > max(now_s - SEEN_S, self.seen.get(user, NEVER_S)):
            self.seen.pop(user, None)
            self.seen[user] = issued_at_s
            if len(self.seen) > SEEN_MAX:
                del self.seen[next(iter(self.seen))]

    def hear(self, user: UserId, said_at_s: float, issued_until_s: float, stamp_s: float, place: int) -> Heard:
        """A logout lies on the log at `place`, stamped by the broker; or one told again by a gateway that has seen
        later tokens (`issued_until_s`; 0: it is told for the first time).
        """
        known = self.logouts.pop(user, None)
        if known is not None and issued_until_s:
            until_s = max(known.until_s, min(issued_until_s, stamp_s + CLOCKS_DIFFER_S))
            logout, heard = Logout(until_s, known.place), Heard(ends=until_s > known.until_s)
        else:
            told_s = max(min(said_at_s, stamp_s), min(issued_until_s, stamp_s + CLOCKS_DIFFER_S))
            seen_s = self.seen.get(user, NEVER_S)
            until_s = max(told_s, seen_s)
            if known is not None:  # read again, or said by a gateway whose clock is behind: nothing opens again
                until_s, place = max(until_s, known.until_s), max(place, known.place)
            logout = Logout(until_s, place)
            heard = Heard(ends=True, tells_s=seen_s if seen_s > told_s else None)
        self.logouts[user] = logout
        if len(self.logouts) > USERS_MAX:
            dropped = self.logouts.pop(next(iter(self.logouts)))
            self.forgotten_until_s = max(self.forgotten_until_s, dropped.until_s)
            return replace(heard, drops=True)
        return heard

    def ends(self, user: UserId, issued_at_s: float, place: int) -> bool:
        """Whether a logout has ended a token issued then (0: it does not say) and verified at that place."""
        if is_up_to(issued_at_s, self.forgotten_until_s):
            return True
        logout = self.logouts.get(user)
        return logout is not None and (place <= logout.place or is_up_to(issued_at_s, logout.until_s))

    def is_too_old(self, issued_at_s: float, now_s: float) -> bool:
        """Whether a token was issued so long ago that a logout since may have been forgotten."""
        return issued_at_s > 0 and issued_at_s < now_s - self.age_s_max

    def forget(self, now_s: float) -> None:
        """Drop logouts that are too old to matter."""
        old = [user for user, logout in self.logouts.items() if logout.until_s < now_s - self.age_s_max]
        for user in old:
            del self.logouts[user]

    def forget_seen(self, now_s: float) -> None:
        """Drop times of issue that any logout to come reaches: those in front, which were seen first."""
        while self.seen:
            user = next(iter(self.seen))
            if self.seen[user] > now_s - SEEN_S:
                return
            del self.seen[user]


def is_up_to(issued_at_s: float, until_s: float) -> bool:
    """Whether it was issued in that second or before."""
    return until_s > NEVER_S and issued_at_s < int(until_s) + 1
