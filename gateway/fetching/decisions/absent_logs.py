"""Sessions that somebody follows and that have no log yet, and when to look whether they have one.

A session's log is made with its first prompt. Whoever attaches before that waits for it, and costs the cluster nothing
but a look now and then: a worker's word says that something was written (the look comes at once, and again while the
brokers that are asked have not heard of it), a prompt that went out here makes it likely (looks follow soon, ever less
often), and since words get lost each log is looked for every LOOK_EVERY_S in any case.

Memory: some numbers and a hub without records each; WAITING_MAX in all, USER_WAITING_MAX of a user. Cost: a word or a
prompt is a step in a heap, however many are waited for; an entry of it that was overtaken by a sooner one is passed
over when it comes up, and the heap is made anew before such entries outnumber the others.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Final

from schemas.identifiers import SessionKey, UserId

__all__ = ["HEARD_PAUSE_S", "LOOK_EVERY_S", "PROMPTED_PAUSE_S", "USER_WAITING_MAX", "WAITING_MAX", "AbsentLogs"]

WAITING_MAX: Final = 20_000
USER_WAITING_MAX: Final = 2_048
LOOK_EVERY_S: Final = 60.0
HEARD_PAUSE_S: Final = 0.01
PROMPTED_PAUSE_S: Final = 0.25
OVERTAKEN_MIN: Final = 1_024
"""So many overtaken entries may lie in the heap in any case."""


@dataclass(slots=True)
class Awaited:
    """A session whose log is awaited."""

    user: UserId
    look_at_s: float
    pause_s: float = LOOK_EVERY_S
    """Until the look after the next."""
    prompted: bool = False


class AbsentLogs:
    """The logs that one gateway waits for."""

    __slots__ = ("awaited", "by_user", "order")

    def __init__(self) -> None:
        self.awaited: dict[SessionKey, Awaited] = {}
        self.by_user: Counter[UserId] = Counter()
        self.order: list[tuple[float, SessionKey]] = []
        """A heap of when to look; an entry counts if its session is to be looked for at that very time."""

    def __contains__(self, key: SessionKey) -> bool:
        return key in self.awaited

    def admit(self, key: SessionKey, user: UserId, now_s: float) -> bool:
        """Wait for a session's log, and look at once; False: so many are waited for, of the user or in all."""
        if key in self.awaited:
            return True
        if len(self.awaited) >= WAITING_MAX or self.by_user[user] >= USER_WAITING_MAX:
            return False
        self.awaited[key] = Awaited(user, now_s)
        self.by_user[user] += 1
        self.look_at(key, now_s)
        return True

    def leave(self, key: SessionKey) -> None:
        """It is there, or nobody waits for it any more."""
        known = self.awaited.pop(key, None)
        if known is not None:
            self.by_user[known.user] -= 1
            if not self.by_user[known.user]:
                del self.by_user[known.user]

    def prompted(self, key: SessionKey, now_s: float) -> None:
        """A prompt goes out."""
        known = self.awaited.get(key)
        if known is not None:
            known.prompted, known.pause_s = True, PROMPTED_PAUSE_S
            if known.look_at_s > now_s + PROMPTED_PAUSE_S:
                self.look_at(key, now_s + PROMPTED_PAUSE_S)

    def was_prompted(self, key: SessionKey) -> bool:
        """Whether a prompt of it went out here."""
        known = self.awaited.get(key)
        return known is None or known.prompted

    def heard(self, key: SessionKey, now_s: float) -> None:
        """Somebody says that it is there."""
        known = self.awaited.get(key)
        if known is not None:
            known.pause_s = HEARD_PAUSE_S
            if known.look_at_s > now_s:
                self.look_at(key, now_s)

    def due(self, now_s: float, at_once_max: int) -> list[SessionKey]:
        """Those to be looked for now, the ones that have waited longest for it first; each will be due again later."""
        keys: list[SessionKey] = []
        while len(keys) < at_once_max and self.next_look_s() <= now_s:
            _, key = heappop(self.order)
            known = self.awaited[key]
            keys.append(key)
            self.look_at(key, now_s + known.pause_s)
            known.pause_s = min(LOOK_EVERY_S, 2 * known.pause_s)
        return keys

    def next_look_s(self) -> float:
        """When the next one is due; never: infinity."""
        while self.order and not self.counts(self.order[0]):
            heappop(self.order)
        return self.order[0][0] if self.order else float("inf")

    def look_at(self, key: SessionKey, at_s: float) -> None:
        self.awaited[key].look_at_s = at_s
        heappush(self.order, (at_s, key))
        if len(self.order) > 2 * len(self.awaited) + OVERTAKEN_MIN:
            self.order = [(known.look_at_s, key) for key, known in self.awaited.items()]
            heapify(self.order)

    def counts(self, entry: tuple[float, SessionKey]) -> bool:
        known = self.awaited.get(entry[1])
        return known is not None and known.look_at_s == entry[0]
