"""The router over any set of targets, and a pool of calls that is driven by nothing but the decisions."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from hypothesis import given
from hypothesis import strategies as st

from processors.targets.decisions.circuit_breaker import (
    BreakerEvent,
    BreakerLimits,
    BreakerPhase,
    BreakerState,
    after,
    allows,
)
from processors.targets.decisions.provider_router import (
    AskPermit,
    CallNeeds,
    GiveUp,
    RouteDecision,
    TargetView,
    UseTarget,
    WaitUntil,
    choose_target,
)
from processors.targets.decisions.rate_window import Granted, NeverFits, RateState, RetryAt, ask, initial_state, room

NOW_S = 50.0

abilities = st.frozensets(st.sampled_from(["vision", "tools"]))
moments_s = st.one_of(st.floats(0, 100), st.just(-math.inf))


@st.composite
def target_views(draw: st.DrawFn) -> list[TargetView]:
    """A third of the targets have no obstacle of their own, so that there is something to choose."""
    names = draw(st.lists(st.sampled_from("abcdef"), unique=True, max_size=6))
    return [draw(any_views if draw(st.integers(0, 2)) else plain_views)(name) for name in names]


def named(**values: Any) -> Callable[[str], TargetView]:
    return lambda name: TargetView(name=name, provider=name, **values)


rooms = st.floats(0, 1)
any_views = st.builds(
    named,
    model=st.sampled_from(["llama", "gpt"]),
    rank=st.integers(0, 2),
    abilities=abilities,
    context_tokens=st.sampled_from([100, 1_000]),
    breaker_allows=st.booleans(),
    breaker_retry_at_s=moments_s,
    room=rooms,
    free_at_s=st.one_of(moments_s, st.just(math.inf)),
    in_flight=st.integers(0, 3),
    concurrent_max=st.one_of(st.none(), st.integers(0, 3)),
    needs_permit=st.booleans(),
    kept=st.booleans(),
)
plain_views = st.builds(
    named,
    model=st.just("llama"),
    rank=st.integers(0, 1),
    abilities=st.just(frozenset({"vision", "tools"})),
    context_tokens=st.just(10_000),
    room=rooms,
)
needs_of_calls = st.builds(
    CallNeeds, abilities=abilities, context_tokens=st.sampled_from([50, 500, 5_000]), substitute=st.booleans()
)


def can_take(view: TargetView, views: list[TargetView], needs: CallNeeds, tried: frozenset[str]) -> bool:
    first = min(views, key=lambda other: other.rank)
    return (
        view.name not in tried
        and (needs.substitute or view.model == first.model)
        and needs.abilities <= view.abilities
        and needs.context_tokens <= view.context_tokens
        and view.breaker_allows
        and view.free_at_s <= NOW_S
        and not view.needs_permit
        and not view.kept
        and (view.concurrent_max is None or view.in_flight < view.concurrent_max)
    )


@given(target_views(), needs_of_calls, st.frozensets(st.sampled_from("abcdef")))
def test_any_targets(views: list[TargetView], needs: CallNeeds, tried: frozenset[str]) -> None:
    """It picks the best of those that can take the call, and waits or gives up only where there is none."""
    decision = choose_target(views, needs, tried=tried, now_s=NOW_S)
    able = [view for view in views if can_take(view, views, needs, tried)]

    match decision:
        case UseTarget(name):
            chosen = next(view for view in able if view.name == name)
            assert all((chosen.rank, -chosen.room) <= (view.rank, -view.room) for view in able)
        case AskPermit(name, patient):
            asked = next(view for view in views if view.name == name)
            assert can_take(replace(asked, needs_permit=False, kept=False, concurrent_max=None), views, needs, tried)
            assert patient == (not able)
            assert all(asked.rank < view.rank for view in able)
        case WaitUntil(at_s):
            assert not able
            assert NOW_S < at_s < math.inf
        case GiveUp():
            assert not able


@given(target_views(), needs_of_calls, st.frozensets(st.sampled_from("abcdef")))
def test_round_ends(views: list[TargetView], needs: CallNeeds, tried: frozenset[str]) -> None:
    """Whoever fails over from one to the next has tried each at most once, then is told to stop or to wait."""
    calls = 0
    while isinstance(decision := choose_target(views, needs, tried=tried, now_s=NOW_S), UseTarget):
        assert decision.name not in tried
        tried |= {decision.name}
        calls += 1

    assert calls <= len(views)


# ---- A pool of calls

LIMITS = BreakerLimits(consecutive_failures_max=3, open_s=5, open_s_max=20)
Outcome = Literal["good", "bad", "cancelled"]


@dataclass
class SimulatedTarget:
    """What the worker keeps of a target."""

    name: str
    rank: int
    concurrent_max: int
    rate: RateState
    breaker: BreakerState = field(default_factory=lambda: BreakerState(LIMITS))
    in_flight: int = 0
    probes: int = 0
    most_in_flight: int = 0
    started_s: list[float] = field(default_factory=list)

    def view(self, now_s: float) -> TargetView:
        match ask(self.rate, 1, now_s):
            case Granted():
                free_at_s = now_s
            case RetryAt(at_s):
                free_at_s = at_s
            case NeverFits():
                free_at_s = math.inf
        return TargetView(
            name=self.name,
            provider=self.name,
            model="llama",
            rank=self.rank,
            context_tokens=1_000,
            breaker_allows=allows(self.breaker, now_s),
            breaker_retry_at_s=self.breaker.retry_at_s,
            room=room(self.rate, now_s),
            free_at_s=free_at_s,
            in_flight=self.in_flight,
            concurrent_max=self.concurrent_max,
        )

    def start(self, now_s: float) -> bool:
        """Begin a call; true where it is the probe."""
        answer = ask(self.rate, 1, now_s)
        assert isinstance(answer, Granted)
        assert allows(self.breaker, now_s)
        self.rate = answer.state
        is_probe = self.breaker.phase is BreakerPhase.OPEN
        if is_probe:
            self.breaker = after(self.breaker, BreakerEvent.PROBE_STARTED, now_s)
        self.probes += is_probe
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.started_s.append(now_s)
        return is_probe

    def end(self, outcome: Outcome, now_s: float, *, is_probe: bool) -> None:
        self.in_flight -= 1
        self.probes -= is_probe
        if is_probe:
            verdict = {
                "good": BreakerEvent.PROBE_SUCCEEDED,
                "bad": BreakerEvent.PROBE_FAILED,
                "cancelled": BreakerEvent.PROBE_ABANDONED,
            }[outcome]
            self.breaker = after(self.breaker, verdict, now_s)
        elif outcome != "cancelled":
            event = BreakerEvent.SUCCEEDED if outcome == "good" else BreakerEvent.FAILED
            self.breaker = after(self.breaker, event, now_s)


@dataclass
class Pool:
    """Prompts in line, first come first served, in front of some targets; calls end when and how they are drawn."""

    targets: list[SimulatedTarget]
    waiting: int = 0
    now_s: float = 0.0
    running: list[tuple[SimulatedTarget, bool]] = field(default_factory=list)

    def let_in(self) -> RouteDecision | None:
        """Start whatever may start; why the next may not."""
        while self.waiting:
            views = [target.view(self.now_s) for target in self.targets]
            decision = choose_target(views, CallNeeds(), tried=frozenset(), now_s=self.now_s)
            if not isinstance(decision, UseTarget):
                return decision
            target = next(target for target in self.targets if target.name == decision.name)
            self.waiting -= 1
            self.running.append((target, target.start(self.now_s)))
        return None

    def end(self, which: int, outcome: Outcome) -> None:
        target, is_probe = self.running.pop(which % len(self.running))
        target.end(outcome, self.now_s, is_probe=is_probe)


shapes = st.lists(st.tuples(st.integers(0, 1), st.integers(1, 4), st.integers(1, 40)), min_size=1, max_size=4)
outcomes: st.SearchStrategy[Outcome] = st.sampled_from(["good", "bad", "cancelled"])
acts = st.lists(
    st.tuples(st.floats(0, 10), st.integers(0, 8), st.lists(st.tuples(st.integers(0, 20), outcomes), max_size=6)),
    max_size=40,
)


def pool_of(shapes: list[tuple[int, int, int]]) -> Pool:
    return Pool(
        [
            SimulatedTarget(f"target-{number}", rank, concurrent_max, initial_state(requests, 0))
            for number, (rank, concurrent_max, requests) in enumerate(shapes)
        ]
    )


@given(shapes, acts)
def test_any_interleaving(
    shapes: list[tuple[int, int, int]], acts: list[tuple[float, int, list[tuple[int, Outcome]]]]
) -> None:
    """In flight never passes the limit, no target has two probes out, and no minute sees more than it may."""
    pool = pool_of(shapes)
    for gap_s, arrivals, endings in acts:
        pool.now_s += gap_s
        pool.waiting += arrivals
        for which, outcome in endings:
            pool.let_in()
            if pool.running:
                pool.end(which, outcome)
        verdict = pool.let_in()

        assert pool.waiting == 0 or isinstance(verdict, WaitUntil)
        assert all(target.most_in_flight <= target.concurrent_max and target.probes <= 1 for target in pool.targets)
    for target, (_, _, requests) in zip(pool.targets, shapes, strict=True):
        for start_s in target.started_s:
            assert sum(start_s <= other_s <= start_s + 60 for other_s in target.started_s) <= requests


@given(shapes, st.integers(1, 60), st.floats(0.1, 20))
def test_everybody_gets_a_turn(shapes: list[tuple[int, int, int]], prompts: int, call_s: float) -> None:
    """Whoever asks again at the moment given, or when a call ends, is served in the end: no wait leads nowhere."""
    pool = pool_of(shapes)
    pool.waiting = prompts
    ends_s: list[float] = []
    served = looks = 0
    while served < prompts:
        looks += 1
        verdict = pool.let_in()
        while len(ends_s) < len(pool.running):
            heapq.heappush(ends_s, pool.now_s + call_s)
        moments = [verdict.at_s] if isinstance(verdict, WaitUntil) else []
        pool.now_s = max(pool.now_s, min([*moments, *ends_s[:1]]))
        while ends_s and ends_s[0] <= pool.now_s:
            heapq.heappop(ends_s)
            pool.end(0, "good")
            served += 1

        assert looks < 5_000
    assert pool.waiting == 0


def test_five_hundred_at_once() -> None:
    """Against 50 places: never more than 50, and the whole takes ten rounds."""
    pool = Pool([SimulatedTarget("groq", 0, 50, initial_state(None, 0))], waiting=500)
    while pool.waiting or pool.running:
        pool.let_in()
        pool.now_s += 2
        while pool.running:
            pool.end(0, "good")

    assert pool.targets[0].most_in_flight == 50
    assert pool.now_s == 20
