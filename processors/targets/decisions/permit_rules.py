"""What the holder of a limit does about an ask, by what it knows of the permit.

    known      the ask says  │ does
    nothing    waiting       │ queue
    nothing    held          │ adopt          granted by a former holder: it counts here from now on
    waiting    waiting       │ renew          and answer where it now wants to be answered
    waiting    held          │ adopt          as above; a former holder's word came between
    granted    waiting       │ grant_again    the first answer was lost, or went to a partition that was moved
    granted    held          │ renew

Every row is its own repetition: an ask that comes twice finds the state that it led to, and changes nothing more.
A permit that is adopted counts against the places, even beyond the limit, but is not charged to the minute: the former
holder did that, and what it charged is known to nobody else.

Silence. A permit that waits or is held is forgotten LEASE_S after the last word about it, and its place comes back; its
asker repeats itself every RENEW_S. So a dead asker's place is lost for LEASE_S at most. LEASE_S is longer than a group
is usually shuffled: a holder that hears nobody for a while must not think that all of them died.

The bound. While the holder stays the same, calls at once never exceed the limit. After the part has moved, the new
holder grants up to its limit before it has heard of the calls under way, so calls at once are at most the limit plus
those under way, of their own or by permit, at the moment of the move; and a call whose asker was not heard for LEASE_S
although it lives (frozen, cut off from the broker) comes on top.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

__all__ = ["ANSWER_S", "LEASE_S", "RENEW_S", "PermitAct", "PermitPhase", "on_asked"]

RENEW_S: Final = 3.0
"""How often an asker repeats itself."""
LEASE_S: Final = 30.0
"""Silence after which a permit is forgotten."""
ANSWER_S: Final = 1.0
"""How long an ask that could be answered elsewhere is waited for."""

PermitPhase: TypeAlias = Literal["waiting", "granted"]
PermitAct: TypeAlias = Literal["queue", "renew", "grant_again", "adopt"]

ACTS: Final[dict[tuple[PermitPhase | None, bool], PermitAct]] = {
    (None, False): "queue",
    (None, True): "adopt",
    ("waiting", False): "renew",
    ("waiting", True): "adopt",
    ("granted", False): "grant_again",
    ("granted", True): "renew",
}


def on_asked(known: PermitPhase | None, *, held: bool) -> PermitAct:
    """What to do about an ask for a permit that is known so (None: not at all)."""
    return ACTS[known, held]
