"""The ladder of a connection under any sequence of offers, writes, drains and waits."""

from __future__ import annotations

from copy import copy

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.sockets.decisions.client_outbox import (
    TRANSITIONS,
    ClientOutbox,
    HeldBytes,
    OutboxEvent,
    OutboxLimits,
    OutboxState,
)

CAP = 10_000
LARGEST = 4_000
FULL = 1_000_000
LIMITS = OutboxLimits.within(CAP)


class OutboxMachine(RuleBasedStateMachine):
    """A model connection: messages go queue → socket → wire."""

    def __init__(self) -> None:
        super().__init__()
        self.held = HeldBytes(FULL)
        self.outbox = ClientOutbox(LIMITS, self.held)
        self.queued: list[int] = []
        self.socket = 0
        self.now_s = 0.0
        self.changed_at_s: list[float] = []
        self.state = OutboxState.DIRECT
        self.took_at_s = 0.0

    @rule(size=st.integers(1, LARGEST))
    def push(self, size: int) -> None:
        """A session's news."""
        unsent = sum(self.queued) + self.socket
        if self.outbox.push(size, self.now_s):
            assert unsent <= LIMITS.high_bytes
            self.queued.append(size)

    @precondition(lambda self: self.outbox.has_room())
    @rule(size=st.integers(1, LARGEST))
    def pull(self, size: int) -> None:
        """What a session has to hand over."""
        self.outbox.pull(size)
        self.queued.append(size)

    @rule(size=st.integers(1, 200))
    def say(self, size: int) -> None:
        """A message of our own."""
        if self.outbox.own(size, self.now_s):
            self.queued.append(size)
        else:
            assert self.outbox.state is OutboxState.CLOSED

    @precondition(lambda self: self.queued)
    @rule(count=st.integers(1, 5))
    def write(self, count: int) -> None:
        """The socket takes some frames."""
        written, self.queued = sum(self.queued[:count]), self.queued[count:]
        self.socket += written
        self.outbox.written(written, written)
        self.outbox.observe(self.socket, self.now_s)

    @rule(part=st.integers(0, CAP))
    def drain(self, part: int) -> None:
        """The client reads."""
        part = min(part, self.socket)
        self.socket -= part
        self.outbox.observe(self.socket, self.now_s)
        unsent = self.outbox.unsent_bytes
        assert self.outbox.watch(self.socket, self.now_s) >= bool(part)
        if part or not unsent:
            self.took_at_s = self.now_s

    @rule(seconds=st.floats(0, 30))
    def wait(self, seconds: float) -> None:
        """Time passes; the shell looks."""
        self.now_s += seconds
        short = copy(self.outbox)
        rests = short.rests(self.now_s)
        self.outbox.observe(self.socket, self.now_s)
        self.outbox.watch(self.socket, self.now_s)
        assert rests is (self.outbox.state is OutboxState.DIRECT and not self.outbox.unsent_bytes)
        if rests:  # the short look has done what the long one does
            assert all(getattr(short, name) == getattr(self.outbox, name) for name in ClientOutbox.__slots__)
        if not self.outbox.unsent_bytes:
            self.took_at_s = self.now_s
        self.outbox.settle(self.now_s)

    @rule(event=st.sampled_from([OutboxEvent.OUTRUN, OutboxEvent.SHED, OutboxEvent.CAUGHT_UP]))
    def move(self, event: OutboxEvent) -> None:
        """What sessions report."""
        if event is not OutboxEvent.CAUGHT_UP and self.outbox.state is not OutboxState.CLOSED:
            self.outbox.dropped(sum(self.queued))
            self.queued.clear()
            self.outbox.observe(self.socket, self.now_s)
        self.outbox.cross(event, self.now_s)

    @invariant()
    def accounts_are_exact(self) -> None:
        """Nobody loses count."""
        assert self.outbox.unsent_bytes == sum(self.queued) + self.socket
        self.outbox.observe(self.socket, self.now_s)
        assert self.held.total == self.outbox.unsent_bytes

    @invariant()
    def never_above_the_cap(self) -> None:
        """Whatever happens."""
        assert self.outbox.unsent_bytes <= CAP

    @invariant()
    def moves_along_the_table(self) -> None:
        """One rung at a time, along an arrow; CLOSED is final."""
        reached = self.outbox.state
        if reached is not self.state:
            steps = {after for (before, _), after in TRANSITIONS.items() if before is self.state}
            further = {after for (before, _), after in TRANSITIONS.items() if before in steps}
            assert reached in steps | further
            if self.state is OutboxState.DIRECT or reached is OutboxState.DIRECT:
                self.changed_at_s.append(self.now_s)
            self.state = reached

    @invariant()
    def nobody_who_takes_bytes_is_stalled(self) -> None:
        """And who takes none for longer is not kept."""
        owes = self.outbox.unsent_bytes > 0
        if self.outbox.state is not OutboxState.CLOSED and owes:
            self.outbox.watch(self.socket, self.now_s)
        if self.outbox.state is not OutboxState.CLOSED:
            assert not owes or self.now_s - self.outbox.progress_at_s <= LIMITS.stall_s


TestOutboxMachine = OutboxMachine.TestCase
TestOutboxMachine.settings = settings(max_examples=200, stateful_step_count=50, deadline=None)


@given(st.integers(1, 10 * CAP))
def test_lone_message_is_always_taken(size: int) -> None:
    """However large: a client must be able to get past it. Behind it nothing of a session's is taken."""
    outbox = ClientOutbox(LIMITS, HeldBytes(FULL))

    assert outbox.push(size, 0.0)
    assert outbox.push(1, 0.0) == (size <= LIMITS.high_bytes)


def test_no_dead_state() -> None:
    """From every rung but the last one leads up again, and one leads to the end."""
    for state in OutboxState:
        after = {reached for (before, _), reached in TRANSITIONS.items() if before is state}
        if state is OutboxState.CLOSED:
            assert not after
        else:
            assert OutboxState.CLOSED in after
            assert after & {OutboxState.DIRECT, OutboxState.ROLLUP}


@given(st.lists(st.integers(1, 40), min_size=20, max_size=200))
def test_no_flapping(gaps: list[int]) -> None:
    """A client that relapses whenever it is direct: its changes become rarer, up to the longest time to settle."""
    outbox, now_s, relapses = ClientOutbox(LIMITS, HeldBytes(FULL)), 0.0, 0
    for gap in gaps:
        now_s += gap / 10
        outbox.observe(0, now_s)
        if outbox.settle(now_s):
            outbox.observe(LIMITS.high_bytes + 1, now_s)
            assert not outbox.push(1, now_s)
            relapses += 1

    settled_s, at_most = 0.0, 1
    while settled_s < now_s:
        settled_s += min(LIMITS.settle_s * 2 ** (at_most - 1), LIMITS.settle_max_s)
        at_most += 1
    assert relapses <= at_most


def test_long_calm_forgives() -> None:
    """After a long time without a relapse the next one is short again."""
    outbox = ClientOutbox(LIMITS, HeldBytes(FULL))
    for start_s in (0.0, 3.0, 100.0):
        outbox.observe(LIMITS.high_bytes + 1, start_s)
        outbox.push(1, start_s)
        outbox.observe(0, start_s)
        lasting_s = outbox.settle_s
        outbox.settle(start_s + lasting_s)
        assert outbox.state is OutboxState.DIRECT
        assert lasting_s == (2 * LIMITS.settle_s if start_s == 3.0 else LIMITS.settle_s)


def test_client_that_owes_a_little_for_long() -> None:
    """Rolled up after `late_s`, however few bytes; not before."""
    outbox = ClientOutbox(LIMITS, HeldBytes(FULL))
    outbox.observe(10, 0.0)
    outbox.observe(10, LIMITS.late_s / 2)
    before = outbox.state
    outbox.observe(10, LIMITS.late_s)

    assert before is OutboxState.DIRECT
    assert outbox.state is OutboxState.ROLLUP


def test_our_own_answers_beyond_the_cap_close() -> None:
    """A client that asks and asks and reads no answer; once closed, nothing is taken."""
    outbox = ClientOutbox(LIMITS, HeldBytes(FULL))
    taken = 0
    while outbox.own(100, 0.0):
        taken += 100

    assert CAP - 100 < taken <= CAP
    assert outbox.state is OutboxState.CLOSED
    assert not outbox.own(1, 0.0)
    assert not outbox.push(1, 0.0)
    assert not outbox.has_room()


def test_those_who_leave_owe_nothing() -> None:
    """The process's account is given back, once."""
    held = HeldBytes(FULL)
    staying, leaving = ClientOutbox(LIMITS, held), ClientOutbox(LIMITS, held)
    for outbox in (staying, leaving):
        outbox.observe(500, 0.0)
    leaving.forget()
    leaving.observe(700, 1.0)
    leaving.forget()

    assert held.total == 500


def test_process_that_holds_all_it_may() -> None:
    """No connection takes a session's message; our own answers still go out; room again when others leave."""
    held = HeldBytes(1_000)
    stalled, quick = ClientOutbox(LIMITS, held), ClientOutbox(LIMITS, held)
    stalled.observe(1_000, 0.0)
    refused = not quick.push(1, 0.0)
    had_room = quick.has_room()
    answered = quick.own(1, 0.0)
    stalled.forget()

    assert refused
    assert not had_room
    assert answered
    assert quick.state is OutboxState.ROLLUP
    assert quick.has_room()
    assert held.total == 1


def test_snapshot_that_waits_for_room() -> None:
    """Counts for the process, not against the connection's marks; given back as it is told, or when the client goes."""
    held = HeldBytes(FULL)
    outbox = ClientOutbox(LIMITS, held)
    outbox.park(50_000)
    outbox.park(-20_000)
    waiting = held.total
    had_room = outbox.has_room()
    outbox.forget()
    outbox.park(-30_000)

    assert had_room
    assert waiting == 30_000
    assert held.total == 0
