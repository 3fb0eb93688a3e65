"""The places at this worker's targets: reserved before a call begins, given back when it has ended.

A call is reserved before it begins and finished, whatever became of it, by `finish`: limits are charged before and
settled after, breakers hear how it went, and what came free is given at once to whoever is first in the queue for it
(`processors.targets.place_dispatch`). Whoever waits is told its position in the queue as it moves.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import structlog

from infra.async_waits import set_within
from processors.providers.decisions.rate_headers import LimitSeen, RateHeaders
from processors.providers.provider import ProviderError, ProviderOverloaded, ProviderTimedOut
from processors.targets.decisions.call_limit import CallLimit
from processors.targets.decisions.circuit_breaker import BreakerEvent, after
from processors.targets.decisions.patience import Patience
from processors.targets.decisions.provider_router import GiveUp
from processors.targets.decisions.queue_wait import (
    TELL_EVERY_S,
    QueuePosition,
    Told,
    pace_of,
    position_in_queue,
    worth_telling,
)
from processors.targets.decisions.rate_shares import held_share
from processors.targets.decisions.rate_window import Charge, RateState, headers_seen, settle
from processors.targets.decisions.retry_policy import BLAMELESS_CODES, may_fail_over
from processors.targets.model_queues import Call, CallWish, ModelQueue, NoTarget, Waiter
from processors.targets.place_dispatch import CALLS_MAX, TIMER_S_MIN, PlaceDispatch
from processors.targets.target_states import limits_of
from schemas.permits import CallOutcome

__all__ = ["CALLS_MAX", "Call", "CallWish", "NoTarget", "OnWait", "TargetPool"]

log = structlog.get_logger(__name__)

OnWait = Callable[[int, float | None], Awaitable[None]]
"""Told the position in the queue (0: next) and the expected wait in seconds, where it is known."""


class TargetPool(PlaceDispatch):
    """The places at all targets of this worker."""

    def set_share(self, owned: frozenset[int], partitions: int) -> None:
        """The partitions of users that this worker owns: its share of every limit."""
        lost = self.targets.set_share(owned, partitions)
        if self.desk is not None:
            self.desk.on_share(lost)
        self.dispatch()

    def try_reserve(self, wish: CallWish) -> Call | None:
        """Reserve a call now if it is nobody else's turn and a target can take it."""
        ever = Patience(math.inf, math.inf, self._clock.monotonic_s())
        waiter = self.joined(wish, ever, may_ask=False)
        self.step_out(waiter)
        return waiter.outcome if isinstance(waiter.outcome, Call) else None

    async def reserve(self, wish: CallWish, patience: Patience, on_wait: OnWait) -> Call:
        """Reserve a call, waiting in the queue for it. Its `patience` is what the wait has left of it. Raises NoTarget.

        Cancellation: leaves the queue; nothing stays reserved.
        """
        hopeless = self.chosen(wish)
        if isinstance(hopeless, GiveUp):
            raise NoTarget(hopeless.reason)
        waiter = self.joined(wish, patience)
        try:
            call = await self.waited(waiter, on_wait)
            call.patience = waiter.patience.waiting(self._clock.monotonic_s(), is_queued=False)
            return call
        except BaseException:  # a cancel too: it may come when the place is given and not taken yet
            if isinstance(waiter.outcome, Call):
                self.give_back(waiter.outcome)
            raise
        finally:
            self.step_out(waiter)

    def has_other(self, wish: CallWish) -> bool:
        """Whether a target that was not tried yet can take the call, now or in a while."""
        return not isinstance(self.chosen(wish), GiveUp)

    def headers_seen(self, call: Call, seen: RateHeaders) -> None:
        """Honour what a call's answer says is left of its target's limits: this worker's share of it."""
        if call.state is None or call.permit is not None:
            return  # nobody's limit, or another worker's, which hears of it with its own answers
        state, now_s = call.state, self._clock.monotonic_s()
        share = held_share(limits_of(state.target), self.targets.share, target=state.target.name)
        requests, tokens = call.charges
        if seen.requests is not None:
            state.requests = tightened(state.requests, seen.requests, share, now_s, requests)
        if seen.tokens is not None:
            state.tokens = tightened(state.tokens, seen.tokens, share, now_s, tokens)
        self.dispatch()

    def heard(self, call: Call, *, sent_s: float, chunks: int, input_tokens: int) -> None:
        """A call's first text has come, or more of it: about every REVIEW_S. `sent_s`: when it was made, monotonic;
        `chunks`: all so far, 0 where they come at another pace than the target's."""
        now_s = self._clock.monotonic_s()
        if call.state is not None and call.seen is not None:
            limit = call.state.limit
            before = limit.limit
            limit.heard(call.seen, now_s, sent_s=sent_s, chunks=chunks, input_tokens=input_tokens)
            if limit.limit != before:
                self.dispatch()
        elif call.permit is not None and call.permit.first_token_s is None:
            call.permit.first_token_s, call.permit.input_tokens = now_s - sent_s, input_tokens

    def finish(
        self, call: Call, *, error: ProviderError | None, tokens_used: int, spoke: bool, chunks: int = 0
    ) -> None:
        """Give the place back: settle the tokens, tell the breaker. `spoke`: at least one chunk came; `chunks` as for
        `heard`."""
        if call.finished or call.state is None:
            return
        if error is not None and error.limits is not None:
            self.headers_seen(call, error.limits)
        call.finished = True
        state, now_s = call.state, self._clock.monotonic_s()
        self.calls -= 1
        state.in_flight -= 1
        self.tell_limit(call, state.limit, outcome_of(error, spoke=spoke), chunks)
        if call.permit is not None and self.desk is not None:
            self.desk.end(call.permit, tokens_used)
        else:
            state.tokens = settle(state.tokens, call.charges[1], tokens_used, now_s)
        if spoke:
            self.queue_of(call.served).durations_s.append(now_s - call.started_s)
        event = verdict(call, error, spoke=spoke)
        if event is not None:
            before, breaker = state.breaker, after(state.breaker, event, now_s)
            state.breaker = breaker
            if breaker.phase is not before.phase:
                log.warning("breaker_changed", target=call.target.name, phase=breaker.phase.value)
        self.dispatch()

    def tell_limit(self, call: Call, limit: CallLimit, outcome: CallOutcome, chunks: int) -> None:
        """The end of a call, to whoever learns how many the target takes."""
        now_s = self._clock.monotonic_s()
        call.stood_in_queue = outcome == "timed_out" and limit.heard_lately(now_s)
        if call.permit is not None:
            call.permit.outcome = outcome
        if call.seen is not None:
            before = limit.limit
            limit.end(call.seen, now_s, outcome, chunks=chunks)
            if before is None and limit.limit is not None:
                log.info("call_limit_learned", target=call.target.name, calls=limit.limit, outcome=outcome)

    def give_back(self, call: Call) -> None:
        """Finish a call that was never made."""
        self.finish(call, error=None, tokens_used=0, spoke=False)

    async def aclose(self) -> None:
        """Close every provider's connections."""
        if self._timer is not None:
            self._timer.cancel()
        if self.desk is not None:
            await self.desk.aclose()
        await self.targets.aclose()

    def joined(self, wish: CallWish, patience: Patience, *, may_ask: bool = True) -> Waiter:
        """Join the queue, and be served at once where that can be."""
        queue, now_s = self.queue_of(wish.served), self._clock.monotonic_s()
        waiter = Waiter(wish, now_s, patience.waiting(now_s, is_queued=True), may_ask)
        queue.join(waiter, self.next_number())
        if queue.first is waiter:
            self.dispatch()
        return waiter

    def step_out(self, waiter: Waiter) -> None:
        """Leave the queue, if it still stands there; whoever is behind may be served now."""
        queue = self.queue_of(waiter.wish.served)
        was_first = queue.first is waiter
        queue.leave(waiter)
        self.withdraw(queue, waiter)
        if was_first:
            self.dispatch()

    async def waited(self, waiter: Waiter, on_wait: OnWait) -> Call:
        """Until the waiter has its outcome. Raises NoTarget, and what `on_wait` raises.

        Its place is told as it moves; the last thing told, if anything, is that it is the next one.
        """
        queue = self.queue_of(waiter.wish.served)
        told: Told | None = None
        while waiter.outcome is None:
            waiter.stirred.clear()
            now_s = self._clock.monotonic_s()
            waiter.patience = waiter.patience.at(now_s)
            if waiter.patience.over:
                raise NoTarget(queue.reason)
            if worth_telling(told, queue.before(waiter), now_s):
                place = self.place_of(queue, waiter)
                told = Told(place.position, now_s, was_next=place.position == 0 or (told is not None and told.was_next))
                await on_wait(place.position, place.eta_s)
            else:
                wait_s = min(waiter.patience.deadline_s - now_s, TELL_EVERY_S)
                await set_within(waiter.stirred, max(TIMER_S_MIN, wait_s))
        if isinstance(waiter.outcome, NoTarget):
            raise waiter.outcome
        if told is not None and told.position:  # several places came free at once
            await on_wait(0, 0.0)
        return waiter.outcome

    def place_of(self, queue: ModelQueue, waiter: Waiter) -> QueuePosition:
        wish = waiter.wish
        limits = [self.targets.usable_limits(target) for target in wish.served.targets]
        pace = pace_of(limits, wish.tokens, calls_max=self.calls_max)
        return position_in_queue(
            queue.before(waiter),
            pace.capacity,
            queue.durations_s,
            not_before_s=queue.not_before_s - self._clock.monotonic_s(),
            spacing_s=pace.spacing_s,
        )


def tightened(state: RateState, seen: LimitSeen, share: float, now_s: float, answered: Charge) -> RateState:
    """The limit after an answer's headers, of which this worker takes its share."""
    left, limit = seen.remaining * share, seen.limit * share if share else math.inf
    return headers_seen(state, left, seen.reset_s, now_s, answered=answered, limit=limit)


def outcome_of(error: ProviderError | None, *, spoke: bool) -> CallOutcome:
    """What a call's end may say about how many calls its target takes. A 429 whose headers name a limit per minute
    that is used up says nothing about calls at once."""
    if spoke or error is None:
        return "ended"
    if isinstance(error, ProviderTimedOut) and error.deadline == "first_token":
        return "timed_out"
    seen = error.limits
    by_minute = seen is not None and any(one is not None and one.remaining <= 0 for one in (seen.requests, seen.tokens))
    return "overloaded" if isinstance(error, ProviderOverloaded) and not by_minute else "ended"


def verdict(call: Call, error: ProviderError | None, *, spoke: bool) -> BreakerEvent | None:
    """What a call's end says about its target; None: nothing (it was stopped, the prompt was refused, or it stood in
    the target's own queue)."""
    if call.stood_in_queue or (error is not None and error.code in BLAMELESS_CODES and not spoke):
        return BreakerEvent.PROBE_ABANDONED if call.is_probe else None
    failed = error is not None and may_fail_over(error.code)
    if call.is_probe:
        if failed:
            return BreakerEvent.PROBE_FAILED
        return BreakerEvent.PROBE_SUCCEEDED if spoke or error is not None else BreakerEvent.PROBE_ABANDONED
    if failed:
        return BreakerEvent.FAILED
    return BreakerEvent.SUCCEEDED if spoke else None
