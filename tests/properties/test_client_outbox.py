"""The accounts of a connection under any sequence of offers, writes and drains."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.decisions.client_outbox import ClientOutbox, Evict, Held, OutboxLimits, OutboxState, Send

CAP = 10_000
LARGEST = 4_000


class OutboxMachine(RuleBasedStateMachine):
    """A model connection: messages go queue → socket → wire."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox = ClientOutbox(OutboxLimits.within(CAP))
        self.queued: list[int] = []
        self.socket = 0
        self.evicted = False

    @rule(size=st.integers(1, LARGEST))
    def offer(self, size: int) -> None:
        unsent = sum(self.queued) + self.socket
        match self.outbox.offer(size):
            case Send() | Held():
                assert not self.evicted
                self.queued.append(size)
            case Evict(owed):
                assert self.evicted or unsent + size > CAP
                assert owed == unsent
                self.evicted = True

    @precondition(lambda self: self.queued)
    @rule(count=st.integers(1, 5))
    def write(self, count: int) -> None:
        written, self.queued = sum(self.queued[:count]), self.queued[count:]
        self.socket += written
        self.outbox.written(written, socket_bytes=self.socket)

    @rule(part=st.integers(0, CAP))
    def drain(self, part: int) -> None:
        self.socket = max(0, self.socket - part)
        self.outbox.observe(self.socket)

    @invariant()
    def accounts_are_exact(self) -> None:
        assert self.outbox.unsent_bytes == sum(self.queued) + self.socket

    @invariant()
    def never_above_the_cap(self) -> None:
        assert self.outbox.unsent_bytes <= CAP

    @invariant()
    def eviction_is_final(self) -> None:
        assert (self.outbox.state is OutboxState.EVICTED) == self.evicted

    @invariant()
    def held_between_the_marks(self) -> None:
        limits = self.outbox.limits
        if self.outbox.state is OutboxState.HELD:
            assert self.outbox.unsent_bytes > 0
        if self.outbox.state is OutboxState.FLOWING:
            assert self.outbox.unsent_bytes < limits.high_bytes + LARGEST


TestOutboxMachine = OutboxMachine.TestCase
TestOutboxMachine.settings = settings(max_examples=200, stateful_step_count=50)


@given(st.integers(1, 10 * CAP))
def test_lone_message_is_always_taken(size: int) -> None:
    """However large: a client must be able to get past it."""
    outbox = ClientOutbox(OutboxLimits.within(CAP))

    assert not isinstance(outbox.offer(size), Evict)
    assert isinstance(outbox.offer(CAP), Evict)
