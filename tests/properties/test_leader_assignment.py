"""However leaders move and look-ups lag: every partition is read at one node, in the end at its leader."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.fetching.decisions.leader_assignment import AGAIN_MAX_S, AGAIN_S, LeaderAssignment

PARTITIONS = st.integers(0, 5)
NODES = st.integers(1, 3)


class AssignmentMachine(RuleBasedStateMachine):
    """A cluster whose truth and whose metadata differ for a while, and a reader that hears refusals only."""

    def __init__(self) -> None:
        super().__init__()
        self.assignment: LeaderAssignment[int] = LeaderAssignment()
        self.now_s = 0.0
        self.truth: dict[int, int] = dict.fromkeys(range(6), 1)
        self.metadata: dict[int, int] = dict(self.truth)
        self.nodes = [1, 2, 3]
        self.followed: set[int] = set()
        self.asked_at_s: dict[int, float] = {}

    @initialize(nodes=st.sampled_from([[1], [1, 2, 3]]))
    def begin(self, nodes: list[int]) -> None:
        self.nodes = nodes

    @rule(partition=PARTITIONS)
    def follow(self, partition: int) -> None:
        self.assignment.follow(partition, self.now_s)
        self.followed.add(partition)

    @rule(partition=PARTITIONS)
    def drop(self, partition: int) -> None:
        self.assignment.drop(partition)
        self.followed.discard(partition)
        self.asked_at_s.pop(partition, None)

    @rule(partition=PARTITIONS, node=NODES)
    def leader_moves(self, partition: int, node: int) -> None:
        if node in self.nodes:
            self.truth[partition] = node

    @rule()
    def metadata_follows(self) -> None:
        self.metadata = dict(self.truth)

    @rule(partition=PARTITIONS)
    def leader_is_gone(self, partition: int) -> None:
        self.metadata.pop(partition, None)

    @rule(seconds=st.floats(0.0, 100.0))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds

    @rule(node=NODES)
    def node_fails(self, node: int) -> None:
        self.assignment.doubt_node(node, self.now_s)

    @rule()
    def wrong_leaders_refuse(self) -> None:
        for node in self.nodes:
            for partition in tuple(self.assignment.led_by(node)):
                if self.truth[partition] != node:
                    self.assignment.doubt(partition, self.now_s)

    @rule(count_max=st.integers(1, 6))
    def look_up(self, count_max: int) -> None:
        asked = self.assignment.to_ask(self.now_s, count_max)
        assert len(asked) <= count_max
        for partition in asked:
            assert self.now_s - self.asked_at_s.get(partition, float("-inf")) >= AGAIN_S * 0.99
            self.asked_at_s[partition] = self.now_s
        before = {partition: self.assignment.places[partition].node for partition in asked}
        leaders = {partition: self.metadata[partition] for partition in asked if partition in self.metadata}
        moved = self.assignment.learned(asked, leaders, self.nodes, self.now_s)
        assert moved == {partition: node for partition, node in leaders.items() if before[partition] != node}

    @rule()
    def all_calms_down(self) -> None:
        """Metadata tells the truth, wrong leaders refuse, and look-ups go on until nobody is in doubt."""
        self.metadata_follows()
        self.wrong_leaders_refuse()
        for _ in range(20):
            self.now_s += AGAIN_MAX_S
            self.look_up(6)
            self.wrong_leaders_refuse()
        for partition in self.followed:
            assert partition in self.assignment.led_by(self.truth[partition])
        assert not self.assignment.urgent

    @invariant()
    def each_partition_has_one_place(self) -> None:
        places = [partition for node in (1, 2, 3) for partition in self.assignment.led_by(node)]
        assert len(places) == len(set(places))
        assert self.assignment.places.keys() == self.followed
        for partition, place in self.assignment.places.items():
            assert (partition in places) == (place.node is not None)
            assert (partition in self.assignment.urgent) != (partition in self.assignment.confirmed)
            assert place.node is not None or partition in self.assignment.urgent

    @invariant()
    def confirmations_are_in_order(self) -> None:
        times = list(self.assignment.confirmed.values())
        assert times == sorted(times)

    @invariant()
    def whoever_is_due_is_told_of(self) -> None:
        due_in_s = self.assignment.due_in(self.now_s)
        assert (due_in_s == 0.0) == bool(self.assignment.to_ask(self.now_s, 6))


TestAssignmentMachine = AssignmentMachine.TestCase
TestAssignmentMachine.settings = settings(max_examples=150, stateful_step_count=40)
