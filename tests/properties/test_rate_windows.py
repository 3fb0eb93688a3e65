"""No window of 60 s ever sees more than the limit, whatever the schedule, the settlements and the rebalances."""

from __future__ import annotations

import bisect
import itertools
import math
from fractions import Fraction

from hypothesis import example, given, settings
from hypothesis import strategies as st

from processors.targets.decisions.rate_shares import PART_TOKENS_MIN, PartitionShare, RateLimits, with_share
from processors.targets.decisions.rate_window import (
    BURST_S,
    RESET_S_MAX,
    WINDOW_S,
    Charge,
    Granted,
    NeverFits,
    RateState,
    RetryAt,
    ask,
    headers_seen,
    initial_state,
    relimit,
    room,
    settle,
)

PARTITIONS = 12

gaps_s = st.one_of(st.just(0.0), st.floats(0, 3), st.floats(0, 90))
limits = st.integers(1, 400)
steps = st.lists(st.tuples(gaps_s, st.integers(1, 60), st.booleans()), min_size=1, max_size=80)


class Caller:
    """Asks as often as it is told to, keeps what was granted, and can wait as it is told."""

    def __init__(self, state: RateState, now_s: float) -> None:
        self.state = state
        self.now_s = now_s
        self.grants: list[Charge] = []

    def call(self, amount: float, *, wait: bool = False) -> bool:
        """Ask; where `wait` is set, come back at the moment given, once, and be granted."""
        answer = ask(self.state, amount, self.now_s)
        if isinstance(answer, RetryAt) and wait:
            before_s = math.nextafter(answer.at_s, -math.inf)
            assert self.now_s < answer.at_s < math.inf
            assert before_s <= self.now_s or isinstance(ask(self.state, amount, before_s), RetryAt)
            self.now_s = answer.at_s
            answer = ask(self.state, amount, self.now_s)
            assert isinstance(answer, Granted)
        if isinstance(answer, Granted):
            self.state = answer.state
            self.grants.append(answer.charge)
        return isinstance(answer, Granted)


def most_in_any(grants: list[Charge], length_s: float) -> float:
    """The largest sum in a window of this length: the largest ones begin with a grant. Both ends count.

    In fractions: the end of a window, rounded as a float, could lie beyond it.
    """
    ordered = sorted(grants, key=lambda charge: charge.at_s)
    sums = [0.0, *itertools.accumulate(charge.amount for charge in ordered)]
    most = 0.0
    for first, charge in enumerate(ordered):
        end = Fraction(charge.at_s) + Fraction(length_s)
        beyond = bisect.bisect_right(ordered, end, key=lambda other: Fraction(other.at_s))
        most = max(most, sums[beyond] - sums[first])
    return most


@given(limits, steps, st.floats(0, 1e6))
def test_any_schedule(limit: int, schedule: list[tuple[float, int, bool]], start_s: float) -> None:
    """Brute force over all windows; a retry at the moment given is granted, an instant earlier it is not."""
    caller = Caller(initial_state(limit, start_s), start_s)
    for gap_s, amount, wait in schedule:
        caller.now_s += gap_s
        fits = caller.call(amount, wait=wait)
        assert fits or not wait or amount > limit
        assert isinstance(ask(caller.state, amount, caller.now_s), NeverFits) == (amount > limit)
        assert 0 <= room(caller.state, caller.now_s) <= 1

    assert most_in_any(caller.grants, WINDOW_S) <= limit
    assert len(caller.state.slots) <= WINDOW_S + 2


@given(limits, steps, st.floats(0, WINDOW_S))
def test_any_length(limit: int, schedule: list[tuple[float, int, bool]], length_s: float) -> None:
    """Shorter windows see no more than the pace and a burst, or one call that is larger than the burst."""
    caller = Caller(initial_state(limit, 0), 0)
    for gap_s, amount, wait in schedule:
        caller.now_s += gap_s
        caller.call(amount, wait=wait)
    largest = max((charge.amount for charge in caller.grants), default=0)

    burst = limit * BURST_S / WINDOW_S
    assert most_in_any(caller.grants, length_s) <= limit * length_s / WINDOW_S + max(burst, largest) + 1e-6


@given(limits, steps, st.data())
def test_settlements(limit: int, schedule: list[tuple[float, int, bool]], data: st.DataObject) -> None:
    """What was truly used stays within the limit too, as long as nobody uses more than was charged."""
    caller = Caller(initial_state(limit, 0), 0)
    unsettled: list[int] = []
    for gap_s, amount, wait in schedule:
        caller.now_s += gap_s
        if caller.call(amount, wait=wait):
            unsettled.append(len(caller.grants) - 1)
        if data.draw(st.booleans()) and unsettled:
            index = unsettled.pop(data.draw(st.integers(0, len(unsettled) - 1)))
            charge = caller.grants[index]
            used = data.draw(st.integers(0, int(charge.amount)))
            caller.state = settle(caller.state, charge, used, caller.now_s)
            caller.grants[index] = Charge(used, charge.at_s)

    assert most_in_any(caller.grants, WINDOW_S) <= limit


@given(limits, st.lists(st.tuples(gaps_s, st.integers(1, 60), st.integers(0, 200)), min_size=1, max_size=60))
def test_used_beyond_the_charge(limit: int, schedule: list[tuple[float, int, int]]) -> None:
    """Nothing is granted while what was used within a minute is above the limit; an excess counts when it is known."""
    caller = Caller(initial_state(limit, 0), 0)
    used_s: list[Charge] = []
    for gap_s, amount, excess in schedule:
        caller.now_s += gap_s
        if not caller.call(amount):
            continue
        used_s.append(caller.grants[-1])
        assert sum(used.amount for used in used_s if used.at_s >= caller.now_s - WINDOW_S) <= limit
        caller.now_s += gap_s
        caller.state = settle(caller.state, caller.grants[-1], amount + excess, caller.now_s)
        used_s.append(Charge(excess, caller.now_s))


@settings(max_examples=25)
@given(st.integers(1, 150), st.integers(1, 3))
def test_greedy_caller(limit: int, minutes: int) -> None:
    """Whoever always asks again at the moment given gets what the limit allows, less the width of a slot."""
    caller = Caller(initial_state(limit, 0), 0)
    while caller.now_s < minutes * (WINDOW_S + 1):
        caller.call(1, wait=True)

    assert len(caller.grants) >= minutes * limit


@given(
    st.one_of(st.none(), limits),
    steps,
    st.integers(0, 100),
    st.one_of(st.floats(0, 120), st.just(math.inf)),
)
def test_headers(limit: int | None, schedule: list[tuple[float, int, bool]], remaining: int, reset_s: float) -> None:
    """No more than they leave goes out before they reset, and they never allow what our own limit does not."""
    caller = Caller(headers_seen(initial_state(limit, 0), remaining, reset_s, 0), 0)
    plain = initial_state(limit, 0)
    for gap_s, amount, _ in schedule:
        caller.now_s += gap_s
        alone = ask(plain, amount, caller.now_s)
        if caller.call(amount):
            assert isinstance(alone, Granted)
            plain = alone.state

    until_s = min(reset_s, RESET_S_MAX)
    assert sum(charge.amount for charge in caller.grants if charge.at_s < until_s) <= remaining


assignments = st.lists(st.integers(0, 2), min_size=PARTITIONS, max_size=PARTITIONS)
moments = st.lists(
    st.tuples(st.floats(0, 20), st.frozensets(st.integers(0, 2)), st.one_of(st.none(), assignments)), max_size=60
)


def shares_of(assignment: list[int]) -> list[PartitionShare]:
    return [
        PartitionShare(
            frozenset(partition for partition, owner in enumerate(assignment) if owner == worker), PARTITIONS
        )
        for worker in range(3)
    ]


def requests_share(limit: int, share: PartitionShare) -> float:
    part = with_share(RateLimits(requests_per_minute=limit), share, target="groq").requests_per_minute
    assert part is not None
    return part


@given(st.integers(72, 200), assignments, moments)
@example(
    120, [0] * 12, [*[(5.0, frozenset({0}), None)] * 11, (0.0, frozenset({1}), [1] * 12), (3.0, frozenset({1}), None)]
)
def test_rebalances(
    limit: int, first: list[int], history: list[tuple[float, frozenset[int], list[int] | None]]
) -> None:
    """Greedy workers together stay within the limit and one burst, however their partitions move."""
    workers = [Caller(initial_state(requests_share(limit, share), 0), 0) for share in shares_of(first)]
    now_s = 0.0
    for gap_s, greedy, assignment in history:
        now_s += gap_s
        for number, (caller, share) in enumerate(zip(workers, shares_of(assignment or first), strict=True)):
            caller.now_s = now_s
            if assignment is not None:
                caller.state = relimit(caller.state, requests_share(limit, share), now_s)
            while number in greedy and caller.call(1):
                pass
    everything = [charge for caller in workers for charge in caller.grants]

    assert most_in_any(everything, WINDOW_S) <= limit * (1 + BURST_S / WINDOW_S) + 1e-6


@given(
    st.one_of(st.none(), st.integers(1, 5_000)),
    st.one_of(st.none(), st.integers(1, 50 * PART_TOKENS_MIN)),
    st.one_of(st.none(), st.integers(1, 200)),
    assignments,
    st.text(max_size=20),
)
def test_shares(
    requests: int | None, tokens: int | None, concurrent: int | None, assignment: list[int], target: str
) -> None:
    """They sum to the limits, whoever owns what; who has a part of one limit can use all of them."""
    limits = RateLimits(requests_per_minute=requests, tokens_per_minute=tokens, concurrent_max=concurrent)
    parts = [with_share(limits, share, target=target) for share in shares_of(assignment)]

    for name in ("requests_per_minute", "tokens_per_minute", "concurrent_max"):
        whole, held = getattr(limits, name), [getattr(part, name) for part in parts]
        if whole is None:
            assert held == [None] * 3
        else:
            assert math.isclose(sum(held), whole)
    for part in parts:
        assert is_nothing(part) or is_usable(part, limits)


def is_nothing(part: RateLimits) -> bool:
    return all(value in (None, 0) for value in (part.requests_per_minute, part.tokens_per_minute, part.concurrent_max))


def is_usable(part: RateLimits, whole: RateLimits) -> bool:
    tokens_min = min(PART_TOKENS_MIN, whole.tokens_per_minute or 0)
    return (
        (part.requests_per_minute is None or part.requests_per_minute >= 1)
        and (part.concurrent_max is None or part.concurrent_max >= 1)
        and (part.tokens_per_minute is None or part.tokens_per_minute >= tokens_min)
    )
