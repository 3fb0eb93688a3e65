"""Where sockets come in: none is read from before there is room for it.

Holds every accepted socket's place from its first moment to its last, so that the process never runs out of files:
what it needs for the broker is kept back. A client that finds the gateway full is answered 503 and the time to wait.
One that asks whether the gateway is alive, or for its metrics, is answered all the same: a full gateway is not a
broken one. When many are being answered, further ones are shut out. Of those who have not said a good hello, the one
that has waited longest is closed when they are too many.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from gateway.sockets.decisions.client_outbox import HeldBytes
from gateway.sockets.decisions.connection_limits import ConnectionLimits
from infra.interpreter_settings import raise_file_limit

__all__ = ["TURNED_AWAY_AT_ONCE_MAX", "ComeIn", "Doorway", "ShutOut", "TurnAway", "Visitor", "files_for_sockets"]

TURNED_AWAY_AT_ONCE_MAX: Final = 64
FILES_KEPT_BACK: Final = 96 + TURNED_AWAY_AT_ONCE_MAX
"""Of the files a process may have open: for the broker, logs, whatever the interpreter needs, and refusals."""


@dataclass(frozen=True, slots=True)
class ComeIn:
    """There is room."""


@dataclass(frozen=True, slots=True)
class TurnAway:
    """No room: answer its request with 503; the client may come back after `retry_after_s`."""

    retry_after_s: float


@dataclass(frozen=True, slots=True)
class ShutOut:
    """No room, not even for an answer."""


class Visitor(Protocol):
    """An accepted socket."""

    def abort(self) -> None:
        """Drop the connection without a word."""


@dataclass(eq=False)
class Doorway:
    """The sockets of one gateway, welcome or not."""

    limits: ConnectionLimits
    held: HeldBytes
    on_refused: Callable[[str], None]
    """Told why, for the shell's metrics."""
    answer_outside: Callable[[bytes], bytes | None] = lambda request: None
    """What is answered to the request of a socket for which there is no room; None: that there is none."""
    _inside: set[Visitor] = field(default_factory=set, init=False)
    _leaving: set[Visitor] = field(default_factory=set, init=False)
    _pending: dict[Visitor, None] = field(default_factory=dict, init=False)

    def enter(self, visitor: Visitor) -> ComeIn | TurnAway | ShutOut:
        """A place for it, or none; whatever the answer, `leave` must follow."""
        if self.accepted >= self.limits.accepted_max or self.held.is_full():
            self.on_refused("door")
            if len(self._leaving) >= TURNED_AWAY_AT_ONCE_MAX:
                return ShutOut()
            self._leaving.add(visitor)
            return TurnAway(self.limits.refused_retry_s * (1 + random.random()))
        self._inside.add(visitor)
        self._pending[visitor] = None
        if len(self._pending) > self.limits.pending_max:
            self.on_refused("pending")
            longest = next(iter(self._pending))
            del self._pending[longest]
            longest.abort()
        return ComeIn()

    @property
    def accepted(self) -> int:
        """Sockets that have a place."""
        return len(self._inside)

    def welcome(self, visitor: Visitor) -> None:
        """It has said a good hello."""
        self._pending.pop(visitor, None)

    def leave(self, visitor: Visitor) -> None:
        """It is gone."""
        self._inside.discard(visitor)
        self._leaving.discard(visitor)
        self._pending.pop(visitor, None)


def files_for_sockets() -> int:
    """How many sockets the process may accept, by its limit of open files, which is raised as far as it may be."""
    files = raise_file_limit()
    return max(1, files - FILES_KEPT_BACK) if files is not None else 1_000_000
