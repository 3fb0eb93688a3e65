"""The targets of this worker: what each may still take, how it has been doing, and who waits for it.

A call is reserved before it begins and finished, whatever became of it, by `finish`: limits are charged before and
settled after, breakers hear how it went, whoever waits is woken. Those that wait for one model stand in one line, so
nobody is overtaken. The decisions are pure (`decisions/rate_window.py`, `circuit_breaker.py`, `provider_router.py`);
this shell only keeps their states by target name, across reloads of the catalogue.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from infra.clock import Clock
from infra.targets.model_catalogue import ServedModel, Target
from processors.decisions.circuit_breaker import BreakerEvent, BreakerLimits, BreakerPhase, BreakerState, after, allows
from processors.decisions.provider_router import CallNeeds, GiveUp, TargetView, UseTarget, WaitUntil, choose_target
from processors.decisions.rate_headers import LimitSeen, RateHeaders
from processors.decisions.rate_shares import PartitionShare, RateLimits, held_share, with_share
from processors.decisions.rate_window import (
    AllGranted,
    Charge,
    NeverFits,
    RateState,
    ask_all,
    headers_seen,
    initial_state,
    relimit,
    room,
    settle,
)
from processors.decisions.retry_policy import may_fail_over
from processors.providers.provider import ChatProvider, ProviderError

__all__ = ["Call", "NoTarget", "OnWait", "TargetPool"]

log = structlog.get_logger(__name__)

OnWait = Callable[[int, float | None], Awaitable[None]]
"""Told the position in line (0: next) and the expected wait in seconds, where it is known."""


class NoTarget(Exception):
    """No target of the model can take the call, now or in time. `reason` is the router's."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class TargetState:
    """What this worker knows of one target."""

    target: Target
    provider: ChatProvider
    limits: RateLimits
    requests: RateState
    tokens: RateState
    breaker: BreakerState = field(default_factory=lambda: BreakerState(BreakerLimits()))
    in_flight: int = 0


@dataclass(slots=True)
class Call:
    """A place at a target. Finish it exactly once."""

    state: TargetState
    target: Target
    served: ServedModel
    reason: str
    charges: tuple[Charge, ...]
    is_probe: bool
    finished: bool = False

    @property
    def provider(self) -> ChatProvider:
        """Who answers."""
        return self.state.provider


@dataclass(slots=True)
class ModelLine:
    """Those who wait for one model."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0


class TargetPool:
    """Reserves calls."""

    def __init__(self, make_provider: Callable[[Target], ChatProvider], clock: Clock) -> None:
        self.make_provider = make_provider
        self.clock = clock
        self.states: dict[str, TargetState] = {}
        self.lines: dict[str, ModelLine] = {}
        self.share = PartitionShare(owned=frozenset({0}), partitions=1)
        self.changed = asyncio.Event()

    def set_share(self, owned: frozenset[int], partitions: int) -> None:
        """The partitions of users that this worker owns: its share of every limit."""
        self.share = PartitionShare(owned=owned, partitions=partitions)
        for state in self.states.values():
            self.apply_limits(state)
        self.wake()

    def try_reserve(
        self, served: ServedModel, needs: CallNeeds, *, tokens: int, tried: frozenset[str] = frozenset()
    ) -> Call | WaitUntil | GiveUp:
        """Reserve a call now if nobody waits for the model and a target can take it."""
        line = self.lines.setdefault(served.name, ModelLine())
        if line.waiting:
            return WaitUntil(math.inf, "busy")
        return self.reserved(served, needs, tokens=tokens, tried=tried)

    async def reserve(
        self,
        served: ServedModel,
        needs: CallNeeds,
        *,
        tokens: int,
        tried: frozenset[str],
        deadline_s: float,
        on_wait: OnWait,
    ) -> Call:
        """Reserve a call, waiting in line for it. `deadline_s`: monotonic moment. Raises NoTarget.

        Cancellation: leaves the line; nothing stays reserved.
        """
        line = self.lines.setdefault(served.name, ModelLine())
        before = line.waiting
        line.waiting += 1
        try:
            if before:
                await on_wait(before, None)
            async with line.lock:
                return await self.wait_for_target(served, needs, tokens, tried, deadline_s=deadline_s, on_wait=on_wait)
        finally:
            line.waiting -= 1

    def has_other(self, served: ServedModel, needs: CallNeeds, *, tokens: int, tried: frozenset[str]) -> bool:
        """Whether a target that was not tried yet can take the call, now or in a while."""
        return not isinstance(self.chosen(served, needs, tokens=tokens, tried=tried), GiveUp)

    def headers_seen(self, call: Call, seen: RateHeaders) -> None:
        """Honour what a call's answer says is left of its target's limits: this worker's share of it."""
        state, now_s = call.state, self.clock.monotonic_s()
        share = held_share(limits_of(state.target), self.share, target=state.target.name)
        requests, tokens = call.charges
        if seen.requests is not None:
            state.requests = tightened(state.requests, seen.requests, share, now_s, requests)
        if seen.tokens is not None:
            state.tokens = tightened(state.tokens, seen.tokens, share, now_s, tokens)
        self.wake()

    def finish(self, call: Call, *, error: ProviderError | None, tokens_used: int, spoke: bool) -> None:
        """Give the place back: settle the tokens, tell the breaker. `spoke`: at least one chunk came."""
        if call.finished:
            return
        if error is not None and error.limits is not None:
            self.headers_seen(call, error.limits)
        call.finished = True
        state, now_s = call.state, self.clock.monotonic_s()
        state.in_flight -= 1
        state.tokens = settle(state.tokens, call.charges[1], tokens_used, now_s)
        event = verdict(call, error, spoke=spoke)
        if event is not None:
            before = state.breaker.phase
            state.breaker = after(state.breaker, event, now_s)
            if state.breaker.phase is not before:
                log.warning("breaker_changed", target=call.target.name, phase=state.breaker.phase.value)
        self.wake()

    def give_back(self, call: Call) -> None:
        """Finish a call that was never made."""
        self.finish(call, error=None, tokens_used=0, spoke=False)

    async def aclose(self) -> None:
        """Close every provider's connections."""
        for state in self.states.values():
            await state.provider.aclose()

    async def wait_for_target(
        self,
        served: ServedModel,
        needs: CallNeeds,
        tokens: int,
        tried: frozenset[str],
        *,
        deadline_s: float,
        on_wait: OnWait,
    ) -> Call:
        told = False
        while True:
            self.changed.clear()
            match self.reserved(served, needs, tokens=tokens, tried=tried):
                case Call() as call:
                    return call
                case GiveUp(reason):
                    raise NoTarget(reason)
                case WaitUntil(at_s, reason):
                    now_s = self.clock.monotonic_s()
                    if at_s > deadline_s or now_s >= deadline_s:
                        raise NoTarget(reason)
                    if not told:
                        told = True
                        await on_wait(0, at_s - now_s if reason == "rate_limited" else None)
                    await self.until(at_s)

    def reserved(
        self, served: ServedModel, needs: CallNeeds, *, tokens: int, tried: frozenset[str]
    ) -> Call | WaitUntil | GiveUp:
        decision = self.chosen(served, needs, tokens=tokens, tried=tried)
        if not isinstance(decision, UseTarget):
            return decision
        target = next(target for target in served.targets if target.name == decision.name)
        return self.taken(self.state_of(target), target, served, reason=decision.reason, tokens=tokens)

    def chosen(
        self, served: ServedModel, needs: CallNeeds, *, tokens: int, tried: frozenset[str]
    ) -> UseTarget | WaitUntil | GiveUp:
        now_s = self.clock.monotonic_s()
        views = [self.view(self.state_of(target), target, tokens, now_s) for target in served.targets]
        return choose_target(views, needs, tried=tried, now_s=now_s)

    def taken(self, state: TargetState, target: Target, served: ServedModel, *, reason: str, tokens: int) -> Call:
        now_s = self.clock.monotonic_s()
        granted = ask_all((state.requests, state.tokens), (1, tokens), now_s)
        if not isinstance(granted, AllGranted):
            raise RuntimeError(f"{target.name} was chosen without room")
        state.requests, state.tokens = granted.states
        state.in_flight += 1
        is_probe = state.breaker.phase is BreakerPhase.OPEN
        if is_probe:
            state.breaker = after(state.breaker, BreakerEvent.PROBE_STARTED, now_s)
        return Call(state, target, served, reason, granted.charges, is_probe)

    def view(self, state: TargetState, target: Target, tokens: int, now_s: float) -> TargetView:
        match ask_all((state.requests, state.tokens), (1, tokens), now_s):
            case AllGranted():
                free_at_s = now_s
            case NeverFits():
                free_at_s = math.inf
            case later:
                free_at_s = later.at_s
        return TargetView(
            name=target.name,
            provider=target.provider,
            model=target.weights,
            rank=target.rank,
            abilities=frozenset(target.abilities),
            context_tokens=target.context_tokens,
            breaker_allows=allows(state.breaker, now_s),
            breaker_retry_at_s=state.breaker.retry_at_s,
            room=min(room(state.requests, now_s), room(state.tokens, now_s)),
            free_at_s=free_at_s,
            in_flight=state.in_flight,
            concurrent_max=state.limits.concurrent_max,
        )

    def state_of(self, target: Target) -> TargetState:
        """The target's state, made anew where the catalogue says something else of it than before."""
        state = self.states.get(target.name)
        if state is None:
            limits = with_share(limits_of(target), self.share, target=target.name)
            now_s = self.clock.monotonic_s()
            state = self.states[target.name] = TargetState(
                target,
                self.make_provider(target),
                limits,
                initial_state(limits.requests_per_minute, now_s),
                initial_state(limits.tokens_per_minute, now_s),
            )
        elif limits_of(state.target) != limits_of(target):
            state.target = target
            self.apply_limits(state)
        return state

    def apply_limits(self, state: TargetState) -> None:
        now_s = self.clock.monotonic_s()
        state.limits = with_share(limits_of(state.target), self.share, target=state.target.name)
        state.requests = relimit(state.requests, state.limits.requests_per_minute, now_s)
        state.tokens = relimit(state.tokens, state.limits.tokens_per_minute, now_s)

    async def until(self, at_s: float) -> None:
        """Until a moment, or until anything has changed."""
        try:
            async with asyncio.timeout(max(0.0, at_s - self.clock.monotonic_s())):
                await self.changed.wait()
        except TimeoutError:
            return

    def wake(self) -> None:
        self.changed.set()


def limits_of(target: Target) -> RateLimits:
    return RateLimits(
        requests_per_minute=target.requests_per_minute,
        tokens_per_minute=target.tokens_per_minute,
        concurrent_max=target.concurrent_max,
    )


def tightened(state: RateState, seen: LimitSeen, share: float, now_s: float, answered: Charge) -> RateState:
    """The limit after an answer's headers, of which this worker takes its share."""
    left, limit = seen.remaining * share, seen.limit * share if share else math.inf
    return headers_seen(state, left, seen.reset_s, now_s, answered=answered, limit=limit)


def verdict(call: Call, error: ProviderError | None, *, spoke: bool) -> BreakerEvent | None:
    """What a call's end says about its target; None: nothing (it was stopped, or the prompt was refused)."""
    failed = error is not None and may_fail_over(error.code)
    if call.is_probe:
        if failed:
            return BreakerEvent.PROBE_FAILED
        return BreakerEvent.PROBE_SUCCEEDED if spoke or error is not None else BreakerEvent.PROBE_ABANDONED
    if failed:
        return BreakerEvent.FAILED
    return BreakerEvent.SUCCEEDED if spoke else None
