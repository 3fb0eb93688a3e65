"""When a gateway gives memory back, and when it looks for cyclic garbage among everything it holds first.

A full collection walks all objects: 0.3 to 1 s with 10,000 connections, in which every stream stands still. Python
starts one whenever a quarter more objects have grown old, so in the middle of a stream, and finds nothing: a connection
lives for hours, what is short-lived is found among the young ones, which goes on, and a connection that ends breaks its
own cycles. So it is made for what we do not know of, when as many have gone as twice those present, so that its cost is
spread over them; or after some time, when few are here to wait for it. When the last one has gone nobody waits at all;
and once more a little later, when what ends after it (timers, threads) has ended.

To ask the C library for the pages that departures left empty takes some 40 ms: done when half as many have gone as are
here.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

__all__ = ["Relief", "relief_due"]

LEFT_MIN: Final = 500
TRIM_SHARE: Final = 0.5
COLLECT_SHARE: Final = 2.0
QUIET_S: Final = 600.0
AGAIN_S: Final = 2.0
FEW: Final = 500
"""With no more connections than this a walk takes some 20 ms."""


class Relief(Enum):
    """What is done for memory."""

    NONE = 0
    TRIM = 1
    """Pages that hold nothing go back to the system."""
    COLLECT = 2
    """The same after a full collection."""


def relief_due(*, left: int, untrimmed: int, present: int, since_s: float, again: bool = False) -> Relief:
    """What to do now. `left`: connections and sessions gone since the last full collection, `since_s` seconds ago.

    `untrimmed`: those of them gone since pages were last given back. `again`: the last collection was the first one
    with nobody present.
    """
    if left >= max(LEFT_MIN, COLLECT_SHARE * present) or (left and not present):
        return Relief.COLLECT
    if (again and not present and since_s >= AGAIN_S) or (since_s >= QUIET_S and present <= FEW):
        return Relief.COLLECT
    return Relief.TRIM if untrimmed >= max(LEFT_MIN, TRIM_SHARE * present) else Relief.NONE
