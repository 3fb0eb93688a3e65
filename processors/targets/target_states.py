"""What this worker knows of each target: what it may still take, and how it has been doing. Kept across reloads of
the catalogue, by the target's name."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from infra.clock import Clock
from infra.targets.model_catalogue import Target
from processors.providers.provider import ChatProvider
from processors.targets.decisions.call_limit import CallLimit
from processors.targets.decisions.circuit_breaker import (
    BreakerEvent,
    BreakerLimits,
    BreakerPhase,
    BreakerState,
    after,
    allows,
)
from processors.targets.decisions.provider_router import TargetView
from processors.targets.decisions.rate_shares import (
    PartitionShare,
    RateLimits,
    holds_part,
    part_limits,
    parts_of,
    with_share,
)
from processors.targets.decisions.rate_window import (
    AllGranted,
    Charge,
    NeverFits,
    RateState,
    RetryAt,
    ask_all,
    initial_state,
    relimit,
    room,
)

__all__ = ["FindTarget", "TargetState", "TargetStates", "limits_of"]

FindTarget: TypeAlias = Callable[[str], Target | None]
"""A target by its name, as the catalogue in force has it."""


@dataclass(slots=True)
class TargetState:
    """What this worker knows of one target."""

    target: Target
    provider: ChatProvider
    limits: RateLimits
    """This worker's part."""
    requests: RateState
    tokens: RateState
    is_held: bool
    """Whether a part of the limits is this worker's own; else it asks for permits."""
    limit: CallLimit = field(default_factory=CallLimit)
    """How many calls it takes at once, as far as this worker's own have shown."""
    breaker: BreakerState = field(default_factory=lambda: BreakerState(BreakerLimits()))
    in_flight: int = 0
    """Own calls, and those that other workers make with our permits."""
    refused_until_s: float = -math.inf
    """When the holder of its limits may be asked again."""


class TargetStates:
    """The targets of this worker."""

    def __init__(self, make_provider: Callable[[Target], ChatProvider], clock: Clock, find_target: FindTarget) -> None:
        self._make_provider = make_provider
        self.clock = clock
        self.find_target = find_target
        """The target as the catalogue in force has it: calls that wait since before a reload know an older one."""
        self.asks_permits = False
        """Whether there is a way to ask other workers."""
        self.by_name: dict[str, TargetState] = {}
        self.share = PartitionShare(owned=frozenset({0}), partitions=1)
        self.on_new: Callable[[TargetState], None] = lambda state: None
        """Told of each target when it is first asked for."""

    def set_share(self, owned: frozenset[int], partitions: int) -> list[TargetState]:
        """Own these partitions of users from now on; returns the targets whose last part was lost by that."""
        self.share = PartitionShare(owned=owned, partitions=partitions)
        lost = []
        for state in self.by_name.values():
            was_held = state.is_held
            self.apply_limits(state)
            if was_held and not state.is_held:
                lost.append(state)
        return lost

    def of(self, target: Target) -> TargetState:
        """The target's state, with the limits that are in force now."""
        target = self.find_target(target.name) or target
        state = self.by_name.get(target.name)
        if state is None:
            limits, now_s = self.part_of(target), self.clock.monotonic_s()
            state = self.by_name[target.name] = TargetState(
                target,
                self._make_provider(target),
                limits,
                initial_state(limits.requests_per_minute, now_s),
                initial_state(limits.tokens_per_minute, now_s),
                is_held=holds_part(limits_of(target), self.share, target=target.name),
                limit=CallLimit(target.concurrent_start),
            )
            state.limit.has_neighbours = self.has_neighbours(target)
            self.on_new(state)
        elif limits_of(state.target) != limits_of(target):
            state.target = target
            self.apply_limits(state)
        state.limit.start_with(target.concurrent_start)
        return state

    def holders_of(self, target: Target) -> tuple[int, ...]:
        """The partitions whose owners are asked for it: those that hold a part of its limits, or the first of them
        where the limit is a learned one."""
        holders = parts_of(limits_of(target), self.share.partitions, target=target.name)
        return holders[:1] if self.of(target).is_held else holders

    def has_neighbours(self, target: Target) -> bool:
        """Whether other workers may call it, and it is one of them that is asked where it takes few calls."""
        share, (first, *_) = self.share, parts_of(limits_of(target), self.share.partitions, target=target.name)
        return self.asks_permits and len(share.owned) < share.partitions and first not in share.owned

    def asks_another(self, state: TargetState) -> bool:
        """Whether its calls are made with another worker's permit."""
        return self.asks_permits and (not state.is_held or state.limit.asks_another(self.clock.monotonic_s()))

    def charge(self, state: TargetState, tokens: int) -> tuple[Charge, ...] | RetryAt | NeverFits:
        """Charge a request and its tokens, if there is room for both now."""
        granted = ask_all((state.requests, state.tokens), (1, tokens), self.clock.monotonic_s())
        if not isinstance(granted, AllGranted):
            return granted
        state.requests, state.tokens = granted.states
        return granted.charges

    def started_probe(self, state: TargetState) -> bool:
        """Whether the call that begins now is the breaker's probe; the breaker hears of it."""
        if state.breaker.phase is not BreakerPhase.OPEN:
            return False
        state.breaker = after(state.breaker, BreakerEvent.PROBE_STARTED, self.clock.monotonic_s())
        return True

    def view(
        self, target: Target, tokens: int, *, kept: bool = False, permitted: bool = False, batch: bool = False
    ) -> TargetView:
        """The target as it stands for a call of so many tokens. `permitted`: its holder lets this call through."""
        state, now_s = self.of(target), self.clock.monotonic_s()
        asks = self.asks_another(state)
        places = None if asks or permitted else state.limit.places(now_s, batch=batch)
        free_at_s = self.askable_at_s(state, tokens) if asks else self.free_at_s(state, tokens)
        return TargetView(
            name=target.name,
            provider=target.provider,
            model=target.weights,
            rank=target.rank,
            abilities=frozenset(target.abilities),
            context_tokens=target.context_tokens,
            breaker_allows=allows(state.breaker, now_s),
            breaker_retry_at_s=state.breaker.retry_at_s,
            room=1.0
            if asks
            else min(room(state.requests, now_s), room(state.tokens, now_s), free_share(state, places)),
            free_at_s=now_s if permitted else free_at_s,
            in_flight=state.in_flight,
            concurrent_max=None if asks or permitted else state.limits.concurrent_max,
            needs_permit=asks and not permitted,
            crowded=places is not None and state.limit.running >= places,
            paid=bool(target.price_ref),
            kept=kept and not permitted,
        )

    def free_at_s(self, state: TargetState, tokens: int) -> float:
        """When this worker's part has room for a call."""
        now_s = self.clock.monotonic_s()
        match ask_all((state.requests, state.tokens), (1, tokens), now_s):
            case AllGranted():
                return now_s
            case NeverFits():
                return math.inf
            case RetryAt(at_s):
                return at_s

    def askable_at_s(self, state: TargetState, tokens: int) -> float:
        """When the holder may be asked for a call; never, where it is more than the holder's part."""
        part = self.whole_part_of(state.target)
        if part.tokens_per_minute is not None and tokens > part.tokens_per_minute:
            return math.inf
        return state.refused_until_s

    def whole_part_of(self, target: Target) -> RateLimits:
        """What one holder of the target may use."""
        return part_limits(limits_of(target), self.share.partitions, target=target.name)

    def usable_limits(self, target: Target) -> RateLimits:
        """The limits that calls from here run into: this worker's part, or its holder's, or what was learned."""
        state = self.of(target)
        if self.asks_permits and not state.is_held:
            return self.whole_part_of(target)
        places = [one for one in (state.limits.concurrent_max, state.limit.limit) if one is not None]
        return replace(state.limits, concurrent_max=min(places, default=None))

    def part_of(self, target: Target) -> RateLimits:
        return with_share(limits_of(target), self.share, target=target.name)

    def apply_limits(self, state: TargetState) -> None:
        now_s = self.clock.monotonic_s()
        state.limits = self.part_of(state.target)
        state.is_held = holds_part(limits_of(state.target), self.share, target=state.target.name)
        state.limit.has_neighbours = self.has_neighbours(state.target)
        state.requests = relimit(state.requests, state.limits.requests_per_minute, now_s)
        state.tokens = relimit(state.tokens, state.limits.tokens_per_minute, now_s)

    async def aclose(self) -> None:
        """Close every provider's connections."""
        for state in self.by_name.values():
            await state.provider.aclose()


def free_share(state: TargetState, places: int | None) -> float:
    return 1.0 if places is None else max(0.0, 1 - state.limit.running / places)


def limits_of(target: Target) -> RateLimits:
    """The limits of its key, over all workers."""
    return RateLimits(
        requests_per_minute=target.requests_per_minute,
        tokens_per_minute=target.tokens_per_minute,
        concurrent_max=target.concurrent_max,
    )
