"""Who may come in, who may stay, and how fast a client may speak.

Three doors. At the first, before a byte is read: no more sockets than the process has files for, and no more that have
not said a good `hello` than `pending_max`; of these the one that has waited longest goes when one more comes, since a
client that means it needs milliseconds and whoever sits there to fill the line does not. At the second, when a client
has said who it is: sockets per user, in all, and bytes owed to all clients; who is refused is told when to come back
(1013), each at another moment, or the refused would come back as one. At the third, while it speaks: a bucket of
messages per connection and one per user; who empties one is closed (4429) with the time to wait. One more bucket, the
process's, closes nobody: whoever speaks while it is empty is not read from until it has filled, and TCP passes that on.

Plain counting; what a connection may cost in bytes is kept by its outbox.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.decisions.message_bucket import ADMIT, Admission, MessageBucket, Refuse
from schemas.close_codes import ADMISSION_REFUSED

__all__ = ["ConnectionLimits", "SocketCounts", "relieved"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionLimits:
    """Caps per user, connection and process."""

    accepted_max: int = 14_000
    """Sockets accepted at once, welcome or not; one more is answered 503. Kept below what the process has files for."""
    pending_max: int = 2_048
    """Sockets that have not said a good hello yet."""
    sockets_per_user_max: int = 512
    """Open sockets of one user on this gateway."""
    sockets_max: int = 12_000
    """Open sockets in all."""
    sessions_per_connection_max: int = 1_024
    """Sessions that one connection may follow."""
    held_bytes_max: int = 201_326_592
    """Bytes owed to all clients together."""
    held_share_near: float = 0.8
    """From this share of them on nobody new is let in."""
    message_burst: int = 1_024
    """Messages that a connection may send at once."""
    messages_per_s: float = 200.0
    """Messages that a connection may send for long."""
    user_message_burst: int = 4_096
    """Messages that all connections of a user may send at once."""
    user_messages_per_s: float = 1_000.0
    """Messages that they may send for long."""
    process_message_burst: int = 20_000
    """Messages that all clients may send at once."""
    process_messages_per_s: float = 10_000.0
    """Messages that they may send for long; beyond it they are read more slowly."""
    refused_retry_s: float = 5.0
    """How long a refused socket should wait, at least; at most twice as long."""

    @property
    def held_bytes_near(self) -> int:
        """From here on nobody new is let in."""
        return int(self.held_bytes_max * self.held_share_near)


@dataclass(slots=True)
class UserShare:
    """What one user has of this process."""

    bucket: MessageBucket
    sockets: int = 0


class SocketCounts:
    """The authenticated sockets of this process, per user."""

    __slots__ = ("_by_user", "_limits", "total")

    def __init__(self, limits: ConnectionLimits) -> None:
        self._limits = limits
        self._by_user: dict[str, UserShare] = {}
        self.total = 0

    def admit(self, user: str, *, held_bytes: int, now_s: float, draw: float) -> Admission:
        """Count one more socket of the user, unless a cap is reached. An Admit must be given back by `leave`.

        `draw`, from 0 to 1, says where in the time to wait a refused client comes back.
        """
        limits, share = self._limits, self._by_user.get(user)
        if (
            self.total >= limits.sockets_max
            or held_bytes >= limits.held_bytes_near
            or (share is not None and share.sockets >= limits.sockets_per_user_max)
        ):
            return Refuse(ADMISSION_REFUSED, round(limits.refused_retry_s * (1 + draw), 3))
        if share is None:
            bucket = MessageBucket(limits.user_message_burst, limits.user_messages_per_s, now_s=now_s)
            share = self._by_user[user] = UserShare(bucket)
        share.sockets += 1
        self.total += 1
        return ADMIT

    def admit_messages(self, user: str, messages: int, *, now_s: float) -> Admission:
        """Messages of a user who is in."""
        return self._by_user[user].bucket.admit(messages, now_s=now_s)

    def leave(self, user: str) -> None:
        """A socket that was admitted has gone."""
        self.total -= 1
        share = self._by_user[user]
        share.sockets -= 1
        if share.sockets <= 0:
            del self._by_user[user]


def relieved(unsent_bytes: list[int], held_bytes: int, limits: ConnectionLimits) -> list[int]:
    """Beyond the cap: which connections must give up what waits for them, by index, so that it is near it again.

    Those that owe most; none of those that owe nothing.
    """
    if held_bytes < limits.held_bytes_max:
        return []
    chosen: list[int] = []
    for index in sorted(range(len(unsent_bytes)), key=unsent_bytes.__getitem__, reverse=True):
        if held_bytes <= limits.held_bytes_near or not unsent_bytes[index]:
            break
        chosen.append(index)
        held_bytes -= unsent_bytes[index]
    return chosen
