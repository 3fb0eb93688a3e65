"""Client and broker agree about a fetch session, whatever is lost, refused or evicted in between."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.fetching.decisions.fetch_session import PARTITIONS_FREE, PAUSE_S_MAX, FetchPlan, FetchSession, pause_s

PARTITIONS = st.integers(0, 5)


class BrokerModel:
    """What KIP-227 says a broker does."""

    def __init__(self) -> None:
        self.session_id = 0
        self.epoch = 0
        self.partitions: dict[int, int] = {}
        self.made = 0

    def ask(self, plan: FetchPlan[int]) -> int | None:
        """The session id of the answer, or None for a refusal."""
        if plan.epoch == 0:
            self.made += 1
            self.session_id, self.epoch, self.partitions = self.made, 1, dict(plan.changed)
            return self.session_id
        if plan.session_id != self.session_id or plan.epoch != self.epoch:
            return None
        self.partitions.update(plan.changed)
        for partition in plan.forgotten:
            del self.partitions[partition]
        self.epoch += 1
        return self.session_id


class FetchSessionMachine(RuleBasedStateMachine):
    """Followers come, go and move; requests are answered, refused or lost."""

    def __init__(self) -> None:
        super().__init__()
        self.session: FetchSession[int] = FetchSession()
        self.broker = BrokerModel()
        self.wanted: dict[int, int] = {}
        self.agreed = False

    @rule(partition=PARTITIONS, offset=st.integers(0, 3))
    def follow(self, partition: int, offset: int) -> None:
        self.wanted[partition] = offset
        self.agreed = False

    @rule(partition=PARTITIONS)
    def unfollow(self, partition: int) -> None:
        self.wanted.pop(partition, None)
        self.agreed = False

    @rule()
    def answered(self) -> None:
        session_id = self.broker.ask(self.session.next_request(self.wanted))
        if session_id is None:
            self.session.lost()
            session_id = self.broker.ask(self.session.next_request(self.wanted))
            assert session_id is not None  # a full fetch is never refused
        self.session.answered(session_id)
        self.agreed = True

    @rule(reached=st.booleans())
    def answer_lost(self, reached: bool) -> None:
        plan = self.session.next_request(self.wanted)
        if reached:
            self.broker.ask(plan)
        self.agreed = False

    @rule()
    def evicted(self) -> None:
        self.broker.session_id = -1
        self.agreed = False

    @rule()
    def broker_keeps_no_session(self) -> None:
        self.session.next_request(self.wanted)
        self.session.answered(0)
        assert self.session.epoch == 0
        self.agreed = False

    @invariant()
    def broker_fetches_what_is_wanted(self) -> None:
        if self.agreed:
            assert self.broker.partitions == self.wanted == self.session.known


TestFetchSessionMachine = FetchSessionMachine.TestCase
TestFetchSessionMachine.settings = settings(max_examples=150, stateful_step_count=40)


@given(st.integers(0, 100_000), st.integers(0, 100_000))
def test_pause_grows_with_the_partitions(some: int, others: int) -> None:
    """Few partitions are asked for at once again; more never pause less, and nobody waits longer than the cap."""
    few, many = sorted((some, others))

    assert 0.0 <= pause_s(few) <= pause_s(many) <= PAUSE_S_MAX
    assert pause_s(min(few, PARTITIONS_FREE)) == 0.0
