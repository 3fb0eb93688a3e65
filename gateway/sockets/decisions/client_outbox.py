"""At what pace one connection is told, and how many bytes it may owe its client.

Four rungs. `DIRECT`: each frame as it comes. `ROLLUP`: what came is taken from the session's memory at most once per
interval and joined, and only while the socket has room. `LOG`: that memory no longer reaches back to where the client
stands; what waited is dropped and the client is served from the log at its own pace. `CLOSED`: the socket has taken
nothing for `stall_s`, or not even our own answers fit; the client comes back with cursors that work.

Invariants: unsent bytes (our queue, and what the socket holds and has not given to the kernel) never pass
max(connection_bytes_max, largest message), since session messages are taken only below `high_bytes` and everything
else only within the cap. No rung but the last is a dead end: a client that reads comes back up. No flapping: down at
`high_bytes` or after `late_s`, up only after `settle_s` in which little was owed, and each early relapse doubles that
time. Progress is what the other side has acknowledged; so a reader of 1 KB/s is kept, one that stopped is not.

Why not a queue per client with a cap, and eviction beyond it: a client a little too slow would be evicted over and
over; pulling from shared memory and from the log costs a position. Cost: a few comparisons per frame.
"""

from __future__ import annotations

import enum
from dataclasses import KW_ONLY, InitVar, dataclass, field
from typing import Final

__all__ = ["TRANSITIONS", "ClientOutbox", "HeldBytes", "OutboxEvent", "OutboxLimits", "OutboxState"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxLimits:
    """Marks of unsent bytes, and times."""

    connection_bytes_max: int = 131_072
    """Never more than this, save for a lone message."""
    high_bytes: int = 16_384
    """Up to here session messages are taken; beyond it, a direct connection is rolled up."""
    low_bytes: int = 4_096
    """Down to here little is owed."""
    late_s: float = 0.5
    """A direct connection that has owed something for so long is rolled up."""
    rollup_s: float = 0.5
    """Between two frames of a session while rolled up."""
    settle_s: float = 2.0
    """How long little must be owed before frames go out as they come again."""
    settle_max_s: float = 32.0
    """The longest that relapses make of it; so long without one, and it starts anew."""
    stall_s: float = 20.0
    """How long the other side may take nothing of what it is owed."""

    @classmethod
    def within(cls, connection_bytes_max: int) -> OutboxLimits:
        """Marks at an eighth and a thirty-second of the cap."""
        return cls(
            connection_bytes_max=connection_bytes_max,
            high_bytes=connection_bytes_max // 8,
            low_bytes=connection_bytes_max // 32,
        )


class OutboxState(enum.Enum):
    """The rung on which a connection stands."""

    DIRECT = "direct"
    ROLLUP = "rollup"
    LOG = "log"
    CLOSED = "closed"


class OutboxEvent(enum.Enum):
    """What moves an outbox from one state to another."""

    HIGH_MARK = "high_mark"
    LATE = "late"
    OUTRUN = "outrun"
    """The session's memory no longer reaches back to the client."""
    SHED = "shed"
    """The process needs the bytes."""
    CAUGHT_UP = "caught_up"
    SETTLED = "settled"
    STALLED = "stalled"
    BYTE_CAP = "byte_cap"


DIRECT: Final = OutboxState.DIRECT
ROLLUP: Final = OutboxState.ROLLUP
LOG: Final = OutboxState.LOG
CLOSED: Final = OutboxState.CLOSED

TRANSITIONS: Final[dict[tuple[OutboxState, OutboxEvent], OutboxState]] = {
    (DIRECT, OutboxEvent.HIGH_MARK): ROLLUP,
    (DIRECT, OutboxEvent.LATE): ROLLUP,
    (DIRECT, OutboxEvent.OUTRUN): LOG,
    (DIRECT, OutboxEvent.SHED): LOG,
    (DIRECT, OutboxEvent.STALLED): CLOSED,
    (DIRECT, OutboxEvent.BYTE_CAP): CLOSED,
    (ROLLUP, OutboxEvent.SETTLED): DIRECT,
    (ROLLUP, OutboxEvent.OUTRUN): LOG,
    (ROLLUP, OutboxEvent.SHED): LOG,
    (ROLLUP, OutboxEvent.STALLED): CLOSED,
    (ROLLUP, OutboxEvent.BYTE_CAP): CLOSED,
    (LOG, OutboxEvent.CAUGHT_UP): ROLLUP,
    (LOG, OutboxEvent.STALLED): CLOSED,
    (LOG, OutboxEvent.BYTE_CAP): CLOSED,
}


class HeldBytes:
    """What a process owes all its clients together, and how much that may be.

    Beyond the cap no connection takes a session's message: each keeps its position instead.
    """

    __slots__ = ("bytes_max", "total")

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.total = 0

    def is_full(self) -> bool:
        """Whether nothing more may be taken."""
        return self.total >= self.bytes_max


@dataclass(slots=True, eq=False)
class ClientOutbox:
    """The accounts of one connection. Times are of one monotonic clock."""

    limits: OutboxLimits
    held: HeldBytes
    _: KW_ONLY
    now_s: InitVar[float] = 0.0
    state: OutboxState = field(default=DIRECT, init=False)
    queued_bytes: int = field(default=0, init=False)
    """Bytes of messages in our queue."""
    _socket_bytes: int = field(default=0, init=False)
    """Bytes that the socket holds, as last observed."""
    written_bytes: int = field(default=0, init=False)
    """Bytes ever given to the socket."""
    delivered_bytes: int = field(default=0, init=False)
    """Of those, what the other side has acknowledged, as last watched."""
    _counted: int = field(default=0, init=False)
    """What `held` knows of our unsent bytes."""
    parked_bytes: int = field(default=0, init=False)
    """Bytes of snapshots that are made and wait for room: they count for the process, not as unsent."""
    settle_s: float = field(init=False)
    _direct_since_s: float = field(init=False)
    progress_at_s: float = field(init=False)
    _late_since_s: float | None = field(default=None, init=False)
    _calm_since_s: float | None = field(default=None, init=False)

    def __post_init__(self, now_s: float) -> None:
        self.settle_s, self.progress_at_s = self.limits.settle_s, now_s
        self._direct_since_s = now_s - self.limits.settle_max_s

    @property
    def unsent_bytes(self) -> int:
        """Everything owed."""
        return self.queued_bytes + self._socket_bytes

    def has_room(self) -> bool:
        """Whether a session's next message may be taken, of any size: it must get past some time."""
        if self.state is CLOSED or self.held.is_full():
            return False
        return self.queued_bytes + self._socket_bytes <= self.limits.high_bytes

    def push(self, message_bytes: int, now_s: float) -> bool:
        """A session's next message is here: is it taken as it comes? Else it is to be pulled later."""
        if self.state is not DIRECT:
            return False
        if self.queued_bytes + self._socket_bytes > self.limits.high_bytes or self.held.is_full():
            self.cross(OutboxEvent.HIGH_MARK, now_s)
            return False
        self.count(message_bytes)
        return True

    def pull(self, message_bytes: int) -> None:
        """A session's message is taken, there being room."""
        self.count(message_bytes)

    def own(self, message_bytes: int, now_s: float) -> bool:
        """A message of our own: it waits for nothing. False: it does not fit, and the connection is closed."""
        unsent = self.queued_bytes + self._socket_bytes
        if unsent and unsent + message_bytes > self.limits.connection_bytes_max:
            self.cross(OutboxEvent.BYTE_CAP, now_s)
        if self.state is CLOSED:
            return False
        self.count(message_bytes)
        return True

    def count(self, message_bytes: int) -> None:
        self.queued_bytes += message_bytes
        self._counted += message_bytes
        self.held.total += message_bytes

    def park(self, message_bytes: int) -> None:
        """So many bytes of a snapshot wait for room, or (less than none) do so no longer."""
        self.parked_bytes += message_bytes
        self.held.total += message_bytes

    def written(self, message_bytes: int, wire_bytes: int) -> None:
        """Messages of this many bytes left the queue as so many bytes for the socket."""
        self.queued_bytes -= message_bytes
        self.written_bytes += wire_bytes

    def dropped(self, message_bytes: int) -> None:
        """Messages of this many bytes left the queue unsaid."""
        self.queued_bytes -= message_bytes

    def observe(self, socket_bytes: int, now_s: float) -> None:
        """The socket now holds this many bytes."""
        self._socket_bytes = socket_bytes
        unsent = self.queued_bytes + socket_bytes
        if unsent != self._counted:
            self.held.total += unsent - self._counted
            self._counted = unsent
        if not unsent:
            self._late_since_s = None
        elif self._late_since_s is None:
            self._late_since_s = now_s
        elif self.state is DIRECT and now_s - self._late_since_s >= self.limits.late_s:
            self.cross(OutboxEvent.LATE, now_s)
        if self.state is not ROLLUP or unsent > self.limits.low_bytes:
            self._calm_since_s = None
        elif self._calm_since_s is None:
            self._calm_since_s = now_s

    def settle(self, now_s: float) -> bool:
        """Nothing waits to be pulled: is it time for frames to go out as they come again?"""
        if self.state is ROLLUP and self._calm_since_s is not None and now_s - self._calm_since_s >= self.settle_s:
            self.cross(OutboxEvent.SETTLED, now_s)
        return self.state is DIRECT

    def rests(self, now_s: float) -> bool:
        """Whether nothing is owed and frames go out as they come: then this look is done, as it nearly always is.

        As `observe`, `watch` and `settle` with nothing owed, in a third of the time.
        """
        if self._counted or self._socket_bytes or self.queued_bytes or self.state is not DIRECT:
            return False
        self._late_since_s = self._calm_since_s = None
        self.delivered_bytes = max(self.delivered_bytes, self.written_bytes)
        self.progress_at_s = now_s
        return True

    def watch(self, undelivered_bytes: int, now_s: float) -> bool:
        """The socket and the kernel hold so many bytes that the other side has not acknowledged. Did it take any?"""
        delivered = self.written_bytes - undelivered_bytes
        progressed = delivered > self.delivered_bytes
        self.delivered_bytes = max(self.delivered_bytes, delivered)
        if progressed or not self.unsent_bytes:
            self.progress_at_s = now_s
        elif now_s - self.progress_at_s > self.limits.stall_s:
            self.cross(OutboxEvent.STALLED, now_s)
        return progressed

    def cross(self, event: OutboxEvent, now_s: float) -> None:
        """Move along the table; a pair that is not in it moves nothing."""
        reached = TRANSITIONS.get((self.state, event), self.state)
        if reached is self.state:
            return
        if self.state is DIRECT:
            relapsed = now_s - self._direct_since_s < self.limits.settle_max_s
            self.settle_s = min(self.settle_s * 2, self.limits.settle_max_s) if relapsed else self.limits.settle_s
        elif reached is DIRECT:
            self._direct_since_s = now_s
        self._calm_since_s = None
        self.state = reached

    def forget(self) -> None:
        """The connection has gone: nobody owes anything any more."""
        self.held.total -= self._counted + self.parked_bytes
        self.held, self._counted = HeldBytes(self.held.bytes_max), 0
