"""When a gateway tells the worker who follows a session.

A turn that is to be cancelled when everybody has left (`on_leave: cancel`), or that goes at its readers' pace
(`pace: reader`), is run by a worker that sees no reader. So the gateway says how many connections follow the session
and how far the fastest of them has been written: at once when there is something to act on, and every
`WATCHED_EVERY_S` besides, so that silence means that the gateway is gone. A word that gets lost is not repeated: the
next one says everything again.

    nothing said yet               now, if a device is there; else after ADVANCE_S (one may be just coming)
    the last device has left       now
    WATCHED_EVERY_S since the last now
    the devices changed            not before BETWEEN_S after the last
    the fastest reader moved on    the same, by ADVANCE_RECORDS; after ADVANCE_S by any record (`pace: reader` only)

Invariants: no two reports closer than BETWEEN_S, save one that says that nobody is left; so at most eight a second
per session, however devices come and go. What was said last is at most ADVANCE_S old where it is not true any more.
Cost: asked every BETWEEN_S or so, and only while such a turn is open; a session without one costs a look at its
`queued` and its `ended` records. Telling each change as it comes would let a client that flaps flood the topic, and
telling every record read would double the log's traffic.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from schemas.prompts import WATCHED_EVERY_S
from schemas.session_events import TurnQueued

__all__ = [
    "ADVANCE_RECORDS",
    "ADVANCE_S",
    "BETWEEN_S",
    "NOT_KNOWN",
    "PUBLISH_S",
    "FollowerReports",
    "Followers",
    "ReportWish",
    "wish_of",
    "wishes_word",
]

BETWEEN_S: Final = 0.25
ADVANCE_S: Final = 1.0
ADVANCE_RECORDS: Final = 16
NOT_KNOWN: Final = -1
"""Of a read offset."""
PUBLISH_S: Final = 2.0
"""From a report to its acknowledgement; what cannot be published by then is dropped."""


@dataclass(frozen=True, slots=True)
class ReportWish:
    """What the open turns of a session want to hear of: devices in any case, and how far they have read."""

    pace: bool


@dataclass(frozen=True, slots=True)
class Followers:
    """Who follows a session on this gateway."""

    devices: int
    read_offset: int = NOT_KNOWN
    """The fastest has been written everything before it."""


class FollowerReports:
    """What one session's worker has been told."""

    __slots__ = ("_asked_at_s", "_told_at_s", "told")

    def __init__(self) -> None:
        self.told: Followers | None = None
        self._told_at_s = 0.0
        self._asked_at_s: float | None = None
        """When it was first asked whether anything is due."""

    def due(self, seen: Followers, wish: ReportWish, now_s: float) -> Followers | None:
        """What is to be told now, and counts as told; None: nothing yet."""
        if not self.is_due(seen, wish, now_s):
            return None
        self.told, self._told_at_s = seen, now_s
        return seen

    def farewell(self) -> Followers | None:
        """The word of a gateway that looks no longer; None where it is said already."""
        if self.told is None or not self.told.devices:
            return None
        self.told = Followers(0)
        return self.told

    def is_due(self, seen: Followers, wish: ReportWish, now_s: float) -> bool:
        told, since_s = self.told, now_s - self._told_at_s
        if told is None:
            self._asked_at_s = now_s if self._asked_at_s is None else self._asked_at_s
            return seen.devices > 0 or now_s - self._asked_at_s >= ADVANCE_S
        if since_s >= WATCHED_EVERY_S:
            return True
        if not seen.devices:
            return told.devices > 0
        if since_s < BETWEEN_S:
            return False
        if seen.devices != told.devices:
            return True
        advance = seen.read_offset - told.read_offset if wish.pace else 0
        return advance >= ADVANCE_RECORDS or (advance > 0 and since_s >= ADVANCE_S)


def wishes_word(queued: TurnQueued) -> bool:
    """Whether a turn wants to hear of those who follow it."""
    return queued.on_leave == "cancel" or queued.pace == "reader"


def wish_of(open_turns: Iterable[TurnQueued]) -> ReportWish | None:
    """What the open turns together want to hear; None: nothing."""
    wishes = [queued for queued in open_turns if wishes_word(queued)]
    return ReportWish(any(queued.pace == "reader" for queued in wishes)) if wishes else None
