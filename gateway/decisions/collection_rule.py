"""When a gateway looks for cyclic garbage among everything it holds.

A full collection walks all objects: 330 ms with 10,000 connections, in which every stream stands still. Python starts
one whenever a quarter more objects have grown old, so in the middle of a stream, and finds nothing: a connection lives
for hours, and what is short-lived is found among the young ones, which goes on. Only connections that have gone leave
cycles behind, so their number decides: a share of those present, so that the cost of a walk is spread over as many
departures as it is long; or some time, for whatever else there may be, when few are here to wait for it. When the last
one has gone nobody waits at all; and once more a little later, when what ends after it (timers, threads) has ended.

Cost: garbage of at most max(`LEFT_MIN`, half of those present) connections, some 20 KB each.
"""

from __future__ import annotations

from typing import Final

__all__ = ["collection_is_due"]

LEFT_MIN: Final = 500
LEFT_SHARE: Final = 0.5
QUIET_S: Final = 600.0
AGAIN_S: Final = 2.0
FEW: Final = 500
"""With no more connections than this a walk takes some 20 ms."""


def collection_is_due(*, left: int, present: int, since_s: float, again: bool = False) -> bool:
    """Whether to collect now. `left`: connections and sessions gone since the last time, `since_s` seconds ago.

    `again`: that time was the first one with nobody present.
    """
    if left >= max(LEFT_MIN, LEFT_SHARE * present) or (left and not present):
        return True
    if again and not present and since_s >= AGAIN_S:
        return True
    return since_s >= QUIET_S and present <= FEW
