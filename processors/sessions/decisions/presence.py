"""Whether anybody follows a session, and when a turn that is to be cancelled on leaving has been left.

A worker sees no reader: gateways say how many devices follow the session, when that changes and every
`WATCHED_EVERY_S` besides. A word with devices makes the session attended for `GONE_AFTER_S`, so that the silence of a
dead gateway ends by itself; a word without takes that gateway's part back at once. The grace time runs from the
latest moment at which the session was attended.

What is not evidence of leaving: that this worker knows nothing yet (a turn's grace begins when this worker takes it
up), and silence while the worker cannot hear (`deaf`: no broker, or commands that wait to be taken in): the session
counts as attended until then. So a turn is left only after a whole grace time in which the worker would have heard of
a device and did not; it may go on longer, never shorter. The other way round, counting silence from the last word,
would cancel the turns of everybody whose broker was away for a minute.

Cost: a few numbers per gateway, at most GATEWAYS_MAX of them. Pure: seconds of any monotonic clock in, a verdict out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from schemas.prompts import WATCHED_EVERY_S

__all__ = ["GATEWAYS_MAX", "GONE_AFTER_S", "Left", "SessionPresence", "Stays"]

GONE_AFTER_S: Final = 3 * WATCHED_EVERY_S
GATEWAYS_MAX: Final = 64
NEVER_S: Final = float("-inf")


@dataclass(frozen=True, slots=True)
class Stays:
    """The turn goes on; before `look_at_s` that does not change."""

    look_at_s: float


@dataclass(frozen=True, slots=True)
class Left:
    """Nobody has followed the session for the grace time."""


Verdict: TypeAlias = Stays | Left


class SessionPresence:
    """Who follows one session, as far as gateways have said."""

    __slots__ = ("attended_s", "read_offsets", "until_s")

    def __init__(self) -> None:
        self.until_s: dict[str, float] = {}
        """Until when each gateway's word holds, oldest word first."""
        self.read_offsets: dict[str, int] = {}
        self.attended_s = NEVER_S
        """The session was attended at this moment by a gateway that no longer says so."""

    def hear(self, gateway: str, devices: int, read_offset: int, now_s: float) -> None:
        """Take a gateway's word."""
        held_s = self.until_s.pop(gateway, NEVER_S)
        self.read_offsets.pop(gateway, None)
        if devices > 0:
            self.until_s[gateway] = now_s + GONE_AFTER_S
            self.read_offsets[gateway] = read_offset
        else:
            self.attended_s = max(self.attended_s, min(held_s, now_s))
        while len(self.until_s) > GATEWAYS_MAX:
            self.drop(next(iter(self.until_s)))

    def deaf(self, now_s: float) -> None:
        """Nothing could be heard until now: a device may have been there all the time."""
        self.attended_s = max(self.attended_s, now_s)

    def attended(self, now_s: float) -> bool:
        """Whether a gateway that was heard of lately has a device."""
        return any(until_s > now_s for until_s in self.until_s.values())

    def fastest(self, now_s: float) -> int:
        """Everything before this offset has been written to the fastest device; -1: none is known."""
        heard = (offset for gateway, offset in self.read_offsets.items() if self.until_s[gateway] > now_s)
        return max(heard, default=-1)

    def decide(self, *, since_s: float, grace_s: float, now_s: float) -> Verdict:
        """Whether a turn that this worker took up at `since_s` has been left."""
        attended_s = max((since_s, self.attended_s, *self.until_s.values()))
        leaves_s = attended_s + grace_s
        if now_s >= leaves_s:
            return Left()
        return Stays(leaves_s)

    def drop(self, gateway: str) -> None:
        """Forget a gateway, but not when its session was attended."""
        self.attended_s = max(self.attended_s, self.until_s.pop(gateway))
        del self.read_offsets[gateway]
