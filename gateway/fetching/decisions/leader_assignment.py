"""Which broker is asked for which partition, and whose leader must be looked up, when.

A partition is led by one broker at a time and read there. Leaders move: a broker dies, comes back, or work is spread
anew. Nobody tells us; the old leader refuses, or does not answer, and then the leader is in *doubt* and is looked up.
Until another one is known the partition stays where it was, for the doubt may be wrong.

Invariants: a followed partition is at one node at most. It is either due to be looked up (`urgent`: it has no place
yet, or is in doubt) or confirmed. While a broker is alone in its cluster it leads whatever there is, so nothing is
looked up; a partition of a larger cluster is confirmed again every CONFIRM_S, since a leader that was cut off from the
others does not know that it leads no longer.

Rate: a partition whose look-up brought nothing new is looked up again after a pause that doubles from AGAIN_S to
AGAIN_MAX_S, however often it is doubted. Asking at every refusal instead would ask hundreds of times a second about
thousands of partitions for as long as an election takes.

Cost: following, doubting, dropping are O(1); a look-up is O(partitions in doubt); a node that fails, O(its partitions).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from infra.decisions.backoff import Backoff

__all__ = ["LeaderAssignment"]

AGAIN_S: Final = 0.05
AGAIN_MAX_S: Final = 0.5
LOOK_UP_BACKOFF: Final = Backoff(2 * AGAIN_S, growth="doubling", longest_pause_s=AGAIN_MAX_S)
DOUBLINGS_MAX: Final = 8
CALM_S: Final = 2.0
"""A doubt this long after the last look-up is a new one."""
CONFIRM_S: Final = 60.0

Partition = TypeVar("Partition")


@dataclass(slots=True)
class Place:
    """Where a partition is read, and what asking about it has brought."""

    node: int | None = None
    asked_s: float = float("-inf")
    misses: int = 0


class LeaderAssignment(Generic[Partition]):
    """Followed partitions and the nodes that lead them."""

    __slots__ = ("confirmed", "led", "nodes", "places", "urgent")

    def __init__(self) -> None:
        self.nodes: frozenset[int] = frozenset()
        self.places: dict[Partition, Place] = {}
        self.led: dict[int, dict[Partition, None]] = {}
        self.urgent: dict[Partition, float] = {}
        """In doubt or without a place → when to look up."""
        self.confirmed: dict[Partition, float] = {}
        """All others, in the order of their times."""

    def follow(self, partition: Partition, now_s: float) -> int | None:
        """A partition is to be read; the node to ask at once, or None where it must be looked up first."""
        if partition in self.places:
            return self.places[partition].node
        place = self.places[partition] = Place()
        if len(self.nodes) != 1:
            self.urgent[partition] = now_s
            return None
        (node,) = self.nodes
        self._put(partition, place, node)
        self.confirmed[partition] = now_s + CONFIRM_S
        return node

    def drop(self, partition: Partition) -> None:
        """Nobody reads it any more."""
        place = self.places.pop(partition, None)
        if place is None:
            return
        self.urgent.pop(partition, None)
        self.confirmed.pop(partition, None)
        if place.node is not None:
            del self.led[place.node][partition]

    def led_by(self, node: int) -> Collection[Partition]:
        """What is read at a node."""
        return self.led.get(node, {}).keys()

    def doubt(self, partition: Partition, now_s: float) -> None:
        """The node refused the partition: somebody else may lead it."""
        place = self.places.get(partition)
        if place is None or partition in self.urgent:
            return
        if now_s - place.asked_s > CALM_S:
            place.misses = 0
        del self.confirmed[partition]
        self.urgent[partition] = max(now_s, place.asked_s + LOOK_UP_BACKOFF.pause_s(place.misses))

    def doubt_node(self, node: int, now_s: float) -> None:
        """The node does not answer: others may lead what it led."""
        for partition in tuple(self.led_by(node)):
            self.doubt(partition, now_s)

    def to_ask(self, now_s: float, count_max: int) -> list[Partition]:
        """Whose leaders to look up now, at most so many. Asked again, the same until `learned`."""
        due: list[Partition] = []
        for partition, due_s in self.urgent.items():
            if due_s <= now_s:
                due.append(partition)
                if len(due) >= count_max:
                    return due
        if len(self.nodes) > 1:
            for partition, due_s in self.confirmed.items():
                if due_s > now_s or len(due) >= count_max:
                    break
                due.append(partition)
        return due

    def due_in(self, now_s: float) -> float | None:
        """Seconds until somebody is to be looked up; None while nobody is."""
        times = list(self.urgent.values())
        if len(self.nodes) > 1 and self.confirmed:
            times.append(next(iter(self.confirmed.values())))
        return max(0.0, min(times) - now_s) if times else None

    def learned(
        self, asked: Iterable[Partition], leaders: Mapping[Partition, int], nodes: Iterable[int], now_s: float
    ) -> dict[Partition, int]:
        """The answer to a look-up: those that are to be read at another node than before. No leader: none is known."""
        self.nodes = frozenset(nodes)
        moved: dict[Partition, int] = {}
        for partition in asked:
            place = self.places.get(partition)
            if place is None:
                continue
            node = leaders.get(partition)
            is_new = node is not None and node != place.node
            place.misses = 0 if is_new else min(place.misses + 1, DOUBLINGS_MAX)
            place.asked_s = now_s
            self.urgent.pop(partition, None)
            self.confirmed.pop(partition, None)
            if node is None:
                self.urgent[partition] = now_s + LOOK_UP_BACKOFF.pause_s(place.misses)
                continue
            self.confirmed[partition] = now_s + CONFIRM_S
            if is_new:
                self._put(partition, place, node)
                moved[partition] = node
        return moved

    def _put(self, partition: Partition, place: Place, node: int) -> None:
        if place.node is not None:
            del self.led[place.node][partition]
        place.node = node
        self.led.setdefault(node, {})[partition] = None
