"""Which ports may be chosen for a part of ours?

Theory. Outgoing connections get their own port from a range of the kernel's. A port that was chosen from that range
and let go is anybody's until its server binds it, seconds later or after a restart: a client's socket may sit there,
and after it was closed for a minute more. So ports are chosen where no outgoing connection goes by itself: from a quiet
stretch if it leaves room there, else from anywhere else that a plain user may listen. Never chosen are the ports that
browsers refuse to talk to, and those where parts of ours listen by default: the next line would find them taken. Where
the range leaves no room at all nothing is proposed, and the kernel's own choice is as good as any.

Invariants: whatever is proposed lies outside the range, is unprivileged and none of the avoided; there are at least
`ROOM_MIN` or none. Cost: each port is looked at. Why not a fixed list: lines and their tests go side by side.
"""

from __future__ import annotations

from typing import Final

__all__ = ["OUTGOING_ASSUMED", "ROOM_MIN", "may_be_kept", "outgoing_ports", "proposed_ports"]

PORTS: Final = range(65_536)
UNPRIVILEGED: Final = range(1_024, 65_536)
QUIET: Final = range(20_000, 30_000)
"""Above most services that have a port of their own, below the node ports of Kubernetes (from 30000)."""
OUTGOING_ASSUMED: Final = range(32_768, 65_536)
"""Where the system does not say: Linux's own range and everybody else's (from 49152)."""
ROOM_MIN: Final = 1_000
"""With fewer to choose from, those who choose at the same time would meet too often."""
BLOCKED_BY_BROWSERS: Final = frozenset(
    {1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, *range(6665, 6670), 6679, 6697, 10080}
)
"""The unprivileged ones of the Fetch standard's list."""
OUR_DEFAULTS: Final = frozenset({*range(8_080, 8_145), 8_123, 9_092, *range(9_464, 9_530)})
"""Those of the settings, with as many gateways and workers after the first one as a line may have."""


def outgoing_ports(told: str) -> range:
    """The kernel's range from its own words, "first last"; what is not that, or no range, is as if nothing was told."""
    words = told.split()
    if len(words) != 2 or not all(word.isdecimal() for word in words):
        return OUTGOING_ASSUMED
    first, last = map(int, words)
    return range(first, last + 1) if first <= last and last in PORTS else OUTGOING_ASSUMED


def proposed_ports(outgoing: range) -> tuple[int, ...]:
    """What may be chosen, in order; empty where the range leaves no room."""
    avoided = BLOCKED_BY_BROWSERS | OUR_DEFAULTS
    for stretch in (QUIET, UNPRIVILEGED):
        room = tuple(port for port in stretch if port not in outgoing and port not in avoided)
        if len(room) >= ROOM_MIN:
            return room
    return ()


def may_be_kept(port: int, outgoing: range) -> bool:
    """Whether a port of an earlier run is as good as a new one: it lies outside the range, or no other one would."""
    return port not in outgoing or not proposed_ports(outgoing)
