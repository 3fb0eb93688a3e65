"""Which broker leads each partition that is followed, as far as it is known.

Each partition is in one place: asked for of the broker that leads it, or *unplaced* until its leader was looked up. A
broker that refuses a partition (it leads it no more, or does not know it yet) or fails makes it unplaced again; so a
leader that moves is found by being asked in vain, and nothing else is disturbed. Where a partition goes, its position
goes with it: this knows nothing of offsets.

Invariants: a partition that joined and has not left is in exactly one place, and one that left is in none; a broker is
never given a partition that is not unplaced. Cost: a dictionary entry per partition; one look-up names up to
`LOOK_UP_MAX` of them, so ten thousand that join at once need forty.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

__all__ = ["LOOK_UP_MAX", "LeaderMap"]

LOOK_UP_MAX: Final = 256

Partition = TypeVar("Partition", bound=Hashable)


class LeaderMap(Generic[Partition]):
    """The places of all partitions."""

    __slots__ = ("by_node", "node_of", "unplaced")

    def __init__(self) -> None:
        self.unplaced: dict[Partition, float] = {}
        """Those whose leader is not known, and from when on they may be looked up."""
        self.by_node: defaultdict[int, dict[Partition, None]] = defaultdict(dict)
        self.node_of: dict[Partition, int] = {}

    def joined(self, partition: Partition) -> None:
        """It is followed from now on."""
        if partition not in self.node_of:
            self.unplaced.setdefault(partition, 0.0)

    def left(self, partition: Partition) -> None:
        """It is not followed any more."""
        self.unplaced.pop(partition, None)
        node = self.node_of.pop(partition, None)
        if node is not None:
            del self.by_node[node][partition]

    def placed(self, partition: Partition, node: int) -> bool:
        """Its leader was found; False where that is of no use any more."""
        if self.unplaced.pop(partition, None) is None:
            return False
        self.by_node[node][partition] = None
        self.node_of[partition] = node
        return True

    def displaced(self, partition: Partition, *, due_s: float) -> None:
        """Its broker does not serve it: look its leader up, not before `due_s`."""
        node = self.node_of.pop(partition, None)
        if node is not None:
            del self.by_node[node][partition]
            self.unplaced[partition] = due_s

    def not_found(self, partition: Partition, *, due_s: float) -> None:
        """It has no leader now: look again, not before `due_s`."""
        if partition in self.unplaced:
            self.unplaced[partition] = due_s

    def failed(self, node: int, *, due_s: float) -> int:
        """A broker does not answer: its partitions, so many, are to be looked up."""
        partitions = list(self.by_node[node])
        for partition in partitions:
            self.displaced(partition, due_s=due_s)
        return len(partitions)

    def due(self, now_s: float) -> list[Partition]:
        """What is to be looked up now, as much as one look-up takes."""
        due: list[Partition] = []
        for partition, due_s in self.unplaced.items():
            if due_s <= now_s:
                due.append(partition)
                if len(due) == LOOK_UP_MAX:
                    break
        return due

    def next_due_s(self) -> float | None:
        """When something is to be looked up; None: nothing is unplaced."""
        return min(self.unplaced.values(), default=None)
