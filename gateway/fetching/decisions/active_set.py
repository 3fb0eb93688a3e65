"""Which sessions a gateway fetches: those where records are to be expected, not all that have a client.

A broker goes through every partition of a fetch at every request, so ten thousand silent sessions slow down the few
hundred that speak. A session is fetched while

    a turn is open                          its answer is being written
    something came                          QUIET_S longer: a next prompt often follows
    it was opened or attached to            LOOK_S: what was appended meanwhile is seen at once
    a prompt or a cancel went out here      PROMPT_S: the answer's first record is on its way
    the worker told of a newer record       until it has come, HEARD_S at most

and is left out otherwise, its position remembered. Word of the worker is a hint that may get lost, so each session that
is left out is looked at again for LOOK_S every LOOK_EVERY_S, spread evenly.

Invariants: no session with an open turn is left out; none is left out before what was told of it has come, unless that
does not come for HEARD_S; each comes to rest once nothing happens. A lost hint delays a record by LOOK_EVERY_S, never
loses it. Cost: the looks keep LOOK_S / LOOK_EVERY_S of the silent sessions in the fetch. Asking the broker for the ends
of all logs instead would cost as many partitions per request, on a second way with failures of its own.
"""

from __future__ import annotations

import math
from typing import Final

__all__ = ["HEARD_S", "LOOK_EVERY_S", "LOOK_S", "PROMPT_S", "QUIET_S", "SessionStanding", "looks_at_once"]

QUIET_S: Final = 5.0
PROMPT_S: Final = 15.0
HEARD_S: Final = 30.0
LOOK_S: Final = 2.0
LOOK_EVERY_S: Final = 60.0
LOOKS_MARGIN: Final = 1.25
"""So many more than evenly, so that those who fell behind are caught up with."""
NOTHING: Final = -1


class SessionStanding:
    """Why one session is fetched, and since when it is not."""

    __slots__ = ("_keep_until_s", "heard_until_s", "left_at_s", "newest", "position")

    def __init__(self, position: int, now_s: float) -> None:
        self.position = position
        """Everything before it has been read."""
        self._keep_until_s = now_s + LOOK_S
        self.newest = NOTHING
        """The newest record that somebody spoke of."""
        self.heard_until_s = now_s
        self.left_at_s = now_s
        """When it was left out, if it is."""

    def attached(self, now_s: float) -> None:
        """Somebody attaches."""
        self.looked_at(now_s)

    def prompted(self, now_s: float) -> None:
        """A prompt or a cancel goes out."""
        self._keep_until_s = max(self._keep_until_s, now_s + PROMPT_S)

    def looked_at(self, now_s: float) -> None:
        """It is its turn to be looked at."""
        self._keep_until_s = max(self._keep_until_s, now_s + LOOK_S)

    def heard(self, newest: int, now_s: float) -> None:
        """The worker told of a record."""
        if newest >= self.position:
            self.newest = max(self.newest, newest)
            self.heard_until_s = now_s + HEARD_S

    def read_to(self, position: int, now_s: float) -> None:
        """So far it has been read by now."""
        if position > self.position:
            self.position = position
            self._keep_until_s = max(self._keep_until_s, now_s + QUIET_S)

    def is_quiet(self, now_s: float) -> bool:
        """Whether nothing is expected, save by an open turn."""
        awaited = self.newest >= self.position and now_s < self.heard_until_s
        return now_s >= self._keep_until_s and not awaited

    def is_due(self, now_s: float) -> bool:
        """Whether a session that is left out should be looked at again."""
        return now_s >= self.left_at_s + LOOK_EVERY_S


def looks_at_once(left_out: int, since_s: float) -> int:
    """How many may be looked at now, of so many that are left out, so many seconds after the last time."""
    return math.ceil(left_out * LOOKS_MARGIN * since_s / LOOK_EVERY_S)
