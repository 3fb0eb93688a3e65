"""Every partition that is followed is in exactly one place, whatever brokers do."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.decisions.leader_map import LOOK_UP_MAX, LeaderMap

PARTITIONS = st.integers(0, 7)
NODES = st.integers(1, 3)


class Cluster(RuleBasedStateMachine):
    """Partitions come and go, leaders are found, refuse and fail, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.map: LeaderMap[int] = LeaderMap()
        self.followed: set[int] = set()
        self.now_s = 0.0

    @rule(partition=PARTITIONS)
    def join(self, partition: int) -> None:
        self.map.joined(partition)
        self.followed.add(partition)

    @rule(partition=PARTITIONS)
    def leave(self, partition: int) -> None:
        self.map.left(partition)
        self.followed.discard(partition)

    @rule(partition=PARTITIONS, node=NODES)
    def find(self, partition: int, node: int) -> None:
        was_unplaced = partition in self.map.unplaced
        assert self.map.placed(partition, node) == was_unplaced

    @rule(partition=PARTITIONS, pause_s=st.floats(0, 2))
    def refuse(self, partition: int, pause_s: float) -> None:
        was_placed = partition in self.map.node_of
        self.map.displaced(partition, due_s=self.now_s + pause_s)
        assert not was_placed or self.map.unplaced[partition] == self.now_s + pause_s

    @rule(partition=PARTITIONS, pause_s=st.floats(0, 2))
    def find_nobody(self, partition: int, pause_s: float) -> None:
        self.map.not_found(partition, due_s=self.now_s + pause_s)

    @rule(node=NODES)
    def fail(self, node: int) -> None:
        served = len(self.map.by_node[node])
        assert self.map.failed(node, due_s=self.now_s) == served
        assert not self.map.by_node[node]

    @rule(seconds=st.floats(0, 3))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @invariant()
    def each_is_in_one_place(self) -> None:
        served = [partition for partitions in self.map.by_node.values() for partition in partitions]
        assert sorted([*self.map.unplaced, *served]) == sorted(self.followed)
        assert {partition: node for node, all_of in self.map.by_node.items() for partition in all_of} == (
            self.map.node_of
        )

    @invariant()
    def what_is_due_is_named(self) -> None:
        due = self.map.due(self.now_s)
        first = self.map.next_due_s()
        assert set(due) == {partition for partition, due_s in self.map.unplaced.items() if due_s <= self.now_s}
        assert (first is None) == (not self.map.unplaced)
        assert (first is not None and first <= self.now_s) == bool(due)


TestCluster = Cluster.TestCase
TestCluster.settings = settings(max_examples=100, stateful_step_count=40)


def test_one_look_up_takes_a_batch() -> None:
    """Ten thousand that join at once are looked up piece by piece."""
    leaders: LeaderMap[int] = LeaderMap()
    for partition in range(LOOK_UP_MAX + 1):
        leaders.joined(partition)

    assert leaders.due(0.0) == list(range(LOOK_UP_MAX))
