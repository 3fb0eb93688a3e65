"""Who has logged out, and which tokens that ends.

A token carries the second in which it was issued, so a logout ends every token issued in its second or before: one that
was issued later in that very second is refused as well, and asking again a second later helps. A token that does not
say when it was issued counts as issued at the beginning of time: the first logout ends it.

Logouts are remembered for as long as a token may be old: a token older than `age_s_max` is refused in any case, so
forgetting a logout can't bring one back. Such a token must say its age; where logouts are forgotten, one that does not
could come back, and is refused after a logout for `age_s_max` only.

Memory: an entry per user who logged out within that time, `USERS_MAX` at most; beyond that the oldest are forgotten.
"""

from __future__ import annotations

from typing import Final

from schemas.identifiers import UserId

__all__ = ["USERS_MAX", "LoggedOut"]

USERS_MAX: Final = 200_000


class LoggedOut:
    """All logouts that are remembered, in the order in which they were heard of."""

    __slots__ = ("age_s_max", "forgotten_early", "until_s")

    def __init__(self, age_s_max: float) -> None:
        self.age_s_max = age_s_max
        self.until_s: dict[UserId, float] = {}
        self.forgotten_early = 0
        """Entries dropped for want of room."""

    def note(self, user: UserId, at_s: float) -> bool:
        """A user logged out. False where a later logout is known."""
        if at_s <= self.until_s.get(user, float("-inf")):
            return False
        self.until_s.pop(user, None)
        self.until_s[user] = at_s
        if len(self.until_s) > USERS_MAX:
            del self.until_s[next(iter(self.until_s))]
            self.forgotten_early += 1
        return True

    def ends(self, user: UserId, issued_at_s: float) -> bool:
        """Whether a logout has ended a token issued then (0: it does not say)."""
        at_s = self.until_s.get(user)
        return at_s is not None and issued_at_s < int(at_s) + 1

    def is_too_old(self, issued_at_s: float, now_s: float) -> bool:
        """Whether a token was issued so long ago that a logout since may have been forgotten."""
        return issued_at_s > 0 and issued_at_s < now_s - self.age_s_max

    def forget(self, now_s: float) -> int:
        """Drop what is too old to matter; how many."""
        old = [user for user, at_s in self.until_s.items() if at_s < now_s - self.age_s_max]
        for user in old:
            del self.until_s[user]
        return len(old)
