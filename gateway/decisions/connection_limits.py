"""Who may connect, and how fast a connection may speak.

Sockets are counted per user and for the whole process; messages are metered by a token bucket per connection, which
holds `message_burst` and refills at `messages_per_s`. A refused socket may come back later (1013), a flood is told
when (4429). Plain counting: the bound of everything else a connection may cost is kept elsewhere, in bytes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final, TypeAlias

from gateway.close_codes import ADMISSION_REFUSED, FLOOD, CloseCode

__all__ = ["Admission", "Admit", "ConnectionLimits", "MessageBucket", "Refuse", "SocketCounts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """Caps per user, connection and process."""

    sockets_per_user_max: int = 512
    """Open sockets of one user on this gateway."""
    sockets_max: int = 12_000
    """Open sockets in all."""
    sessions_per_connection_max: int = 1_024
    """Sessions that one connection may follow."""
    message_burst: int = 1_024
    """Messages that a connection may send at once."""
    messages_per_s: float = 200.0
    """Messages that a connection may send for long."""
    refused_retry_s: float = 5.0
    """How long a refused socket should wait."""


@dataclass(frozen=True, slots=True)
class Admit:
    """Go on."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Close with this code; the client may come back after `retry_after_s`."""

    code: CloseCode
    retry_after_s: float


Admission: TypeAlias = Admit | Refuse

ADMIT: Final = Admit()


class SocketCounts:
    """The authenticated sockets of this process, per user."""

    __slots__ = ("by_user", "limits", "total")

    def __init__(self, limits: ConnectionLimits) -> None:
        self.limits = limits
        self.by_user: Counter[str] = Counter()
        self.total = 0

    def admit(self, user: str) -> Admission:
        """Count one more socket of the user, unless a cap is reached. An Admit must be given back by `leave`."""
        if self.by_user[user] >= self.limits.sockets_per_user_max or self.total >= self.limits.sockets_max:
            return Refuse(ADMISSION_REFUSED, self.limits.refused_retry_s)
        self.by_user[user] += 1
        self.total += 1
        return ADMIT

    def leave(self, user: str) -> None:
        """A socket that was admitted has gone."""
        self.total -= 1
        self.by_user[user] -= 1
        if self.by_user[user] <= 0:
            del self.by_user[user]


class MessageBucket:
    """The message rate of one connection."""

    __slots__ = ("available", "limits", "refilled_at_s")

    def __init__(self, limits: ConnectionLimits, *, now_s: float) -> None:
        self.limits = limits
        self.available = float(limits.message_burst)
        self.refilled_at_s = now_s

    def take(self, messages: int, *, now_s: float) -> Admission:
        """Spend one token per message; a clock that steps back refills nothing."""
        elapsed_s = max(0.0, now_s - self.refilled_at_s)
        self.refilled_at_s = now_s
        refilled = self.available + elapsed_s * self.limits.messages_per_s
        self.available = min(float(self.limits.message_burst), refilled)
        if messages > self.available:
            wanted = messages + self.limits.message_burst / 4  # coming back for one token would not be worth it
            return Refuse(FLOOD, round((wanted - self.available) / self.limits.messages_per_s, 3))
        self.available -= messages
        return ADMIT
