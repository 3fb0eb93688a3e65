"""How many sessions users may begin through one gateway: in an hour each, and in an hour all together.

A session costs the cluster a topic, for as long as it is kept. So beside the rates of messages, which allow thousands
a second, new sessions have a rate of their own. A bucket each: an hour's worth may be begun at once, and comes back
evenly.

Memory: a bucket for each user who began a session, USERS_MAX at most; beyond it the one that began first is forgotten,
and begins with a full bucket if it comes back. The bucket of all stays.
"""

from __future__ import annotations

import math
from typing import Final

from gateway.decisions.message_bucket import MessageBucket

__all__ = ["USERS_MAX", "NewSessions"]

HOUR_S: Final = 3_600.0
USERS_MAX: Final = 20_000
ADDING_UP_COSTS: Final = 1e-9


class NewSessions:
    """The rate of new sessions at one gateway."""

    __slots__ = ("_all", "_by_user", "_per_user_h")

    def __init__(self, per_user_h: int, per_h: int, *, now_s: float) -> None:
        self._per_user_h = per_user_h
        self._all = MessageBucket(per_h, per_h / HOUR_S, now_s=now_s)
        self._by_user: dict[str, MessageBucket] = {}

    def begin(self, user: str, now_s: float) -> float:
        """Count one more; 0, or, where none is to begin, the seconds until one may."""
        bucket = self._by_user.get(user)
        if bucket is None:
            bucket = self._by_user[user] = MessageBucket(self._per_user_h, self._per_user_h / HOUR_S, now_s=now_s)
            if len(self._by_user) > USERS_MAX:
                del self._by_user[next(iter(self._by_user))]
        wait_s = max(until_one(bucket, now_s), until_one(self._all, now_s))
        if not wait_s:
            bucket.spend(1, now_s=now_s)
            self._all.spend(1, now_s=now_s)
        return wait_s


def until_one(bucket: MessageBucket, now_s: float) -> float:
    """Whole seconds until there is one, but for what adding up has cost; 0: there is."""
    bucket.refill(now_s)
    missing = 1 - bucket.available
    return 0.0 if missing < ADDING_UP_COSTS else float(math.ceil(missing / bucket.per_s))
