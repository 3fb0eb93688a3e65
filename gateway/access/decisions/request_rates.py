"""How often somebody may ask for a ticket or a logout: by address before the token is looked at, then by user.

Both end in work that others share: checking a signature, an append to the gateways' common log, and a look at every
connection. A bucket per address and one per user; whoever has emptied one is told when to come back. Addresses behind
a proxy are one address: its bucket is wide, and the user's, which no address widens, is the one that counts.

Memory: a bucket for each that asked, ASKERS_MAX at most. One that is full again is like none, so those go first; then
the one that came first.
"""

from __future__ import annotations

from typing import Final

from gateway.decisions.message_bucket import MessageBucket

__all__ = ["ASKERS_MAX", "RequestRates"]

ASKERS_MAX: Final = 10_000


class RequestRates:
    """Buckets by who asks."""

    __slots__ = ("burst", "by_asker", "per_s")

    def __init__(self, burst: int, per_s: float) -> None:
        self.burst = burst
        self.per_s = per_s
        self.by_asker: dict[str, MessageBucket] = {}

    def ask(self, asker: str, now_s: float) -> float:
        """Count one more; 0, or the seconds until it may be asked again, and nothing is counted."""
        bucket = self.by_asker.get(asker)
        if bucket is None:
            if len(self.by_asker) >= ASKERS_MAX:
                self.forget(now_s)
            bucket = self.by_asker[asker] = MessageBucket(self.burst, self.per_s, now_s=now_s)
        bucket.refill(now_s)
        if bucket.available < 1:
            return (1 - bucket.available) / self.per_s
        bucket.available -= 1
        return 0.0

    def forget(self, now_s: float) -> None:
        """Make room for at least one."""
        for asker, bucket in list(self.by_asker.items()):
            bucket.refill(now_s)
            if bucket.available >= self.burst:
                del self.by_asker[asker]
        if len(self.by_asker) >= ASKERS_MAX:
            del self.by_asker[next(iter(self.by_asker))]
