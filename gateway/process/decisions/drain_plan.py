"""When each client of a leaving gateway is sent elsewhere: its own slot within a window.

Clients that were all told "come back" at one moment would come back as one herd, and the gateway that takes them in
would refuse many. So each gets a slot, evenly spread: slot k of n lies at (k + 1) / n of the window. The window is no
longer than it has to be: as many clients a second as a sibling can take in (`per_s`), so that three clients are gone in
milliseconds, and never longer than `window_s_max`, whatever their number: who was asked to stop must stop.

Clients whose sessions are silent go first: while they move, answers under way go on being told here, and many end
before their reader has to move at all. Among equals the order of arrival stays.

Invariants: every client has exactly one slot; slots do not decrease in the order given; none lies beyond the window;
no two neighbours lie closer than the even spacing. Cost: a sort of n flags.

Not random: draws leave holes and heaps, and the even spacing needs no luck. Clients add their own small jitter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["DrainSlot", "drain_slots"]


@dataclass(frozen=True, slots=True)
class DrainSlot:
    """One client's turn to go."""

    index: int
    """Which of the clients, as they were given."""
    at_s: float
    """Seconds from now."""


def drain_slots(is_streaming: Sequence[bool], *, window_s_max: float, per_s: float) -> list[DrainSlot]:
    """The slots in the order of time; `is_streaming` says of each client whether an answer is being told to it."""
    clients = len(is_streaming)
    window_s = min(window_s_max, clients / per_s)
    order = sorted(range(clients), key=is_streaming.__getitem__)
    return [DrainSlot(index, window_s * (place + 1) / clients) for place, index in enumerate(order)]
