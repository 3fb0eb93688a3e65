"""Gives the places at this worker's targets to those who are first in the queue for them.

Each model has a queue of its own, and so has each target that other workers need our permit for; `dispatch` goes
through the first of every queue, the earliest first, until none can be served. Nobody wakes up to look for itself, so
the end of a call costs as much as there are queues, however many stand in them.

A place is a call at a target and a call of this worker: `calls_max` bounds what runs here at once, and holds the queues
of all models up alike. Who is held up keeps what it waits for free of those who came later. The decisions are pure
(`decisions/provider_router.py`, `priority_queue.py`, `rate_window.py`, `permit_rules.py`).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Set
from heapq import heapify, heappop, heappush
from typing import Final

from infra.clock import Clock
from infra.targets.model_catalogue import ServedModel, Target
from processors.providers.provider import ChatProvider
from processors.targets.decisions.call_limit import SeenCall
from processors.targets.decisions.permit_rules import ANSWER_S
from processors.targets.decisions.provider_router import (
    LOOK_AGAIN_S,
    AskPermit,
    GiveUp,
    RouteDecision,
    TargetView,
    UseTarget,
    WaitUntil,
    choose_target,
    waited_for,
)
from processors.targets.decisions.rate_window import Charge, NeverFits, RetryAt
from processors.targets.model_queues import Call, CallWish, ModelQueue, NoTarget, Waiter
from processors.targets.permit_asks import Ask
from processors.targets.permit_desk import PermitDesk, SendPermit
from processors.targets.permit_grants import PermitQueue
from processors.targets.target_states import FindTarget, TargetState, TargetStates

__all__ = ["CALLS_MAX", "TIMER_S_MIN", "PlaceDispatch"]

CALLS_MAX: Final = 4_096
TIMER_S_MIN: Final = 0.001
UNANSWERED_PAUSE_S: Final = 5.0
"""How long a holder that does not answer is not asked while there are other targets."""
REFUSED_FOR_GOOD_S: Final = 60.0
"""How long an asker leaves us alone whose call does not fit our limits at all: its file differs from ours."""


class PlaceDispatch:
    """The queues, and what they stand for."""

    def __init__(
        self,
        make_provider: Callable[[Target], ChatProvider],
        clock: Clock,
        *,
        calls_max: int = CALLS_MAX,
        send_permit: SendPermit | None = None,
        find_target: FindTarget = lambda name: None,
    ) -> None:
        """`send_permit`: None where no other worker is asked."""
        self.make_provider = make_provider
        self._clock = clock
        self.calls_max = calls_max
        self.targets = TargetStates(lambda target: self.make_provider(target), clock, find_target)
        self.desk: PermitDesk | None = None
        if send_permit is not None:
            self.desk = PermitDesk(send_permit, self.targets, self.next_number, self.dispatch)
        self.targets.asks_permits = self.desk is not None
        self.queues: dict[str, ModelQueue] = {}
        self.calls = 0
        """Calls reserved and not finished."""
        self._arrivals = 0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def states(self) -> dict[str, TargetState]:
        """What this worker knows of each target that was asked for, by name."""
        return self.targets.by_name

    @property
    def full(self) -> bool:
        """Whether as many calls run here as may."""
        return self.calls >= self.calls_max

    def queue_of(self, served: ServedModel) -> ModelQueue:
        return self.queues.setdefault(served.name, ModelQueue())

    def next_number(self) -> int:
        self._arrivals += 1
        return self._arrivals

    def dispatch(self) -> None:
        """Give every place that is free to whoever is first in the queue for it."""
        if self.desk is not None:
            self.desk.tidy()
        look_at_s = math.inf
        foreign = self.desk.queues() if self.desk is not None else []
        queues: list[ModelQueue | PermitQueue] = [*self.queues.values(), *foreign]
        heads = [(queue.order.first, queue) for queue in queues if queue.order.first is not None]
        heapify(heads)
        kept: set[str] = set()
        while heads:
            _, queue = heappop(heads)
            at_s = self.serve_own(queue, kept) if isinstance(queue, ModelQueue) else self.serve_foreign(queue, kept)
            if at_s is not None:
                look_at_s = min(look_at_s, at_s)
            elif queue.order.first is not None:
                heappush(heads, (queue.order.first, queue))
        self.set_timer(min(look_at_s, self.desk.due_at_s if self.desk is not None else math.inf))

    def serve_own(self, queue: ModelQueue, kept: set[str]) -> float | None:
        """Serve the first of a model's queue. None: it has its outcome; else when it is worth looking again."""
        waiter = queue.first
        if waiter is None:
            return math.inf
        if queue.asking is not None and queue.asking is not waiter:
            self.withdraw(queue, queue.asking)  # overtaken by a better class
        if self.full:
            self.withdraw(queue, waiter)
            return self.held_up(queue, waiter, math.inf, "worker_busy")
        match self.chosen(waiter.wish, waiter=waiter, kept=kept):
            case UseTarget(name, reason):
                self.serve(queue, waiter, self.taken(waiter, name, reason))
                return None
            case GiveUp(reason):
                self.serve(queue, waiter, NoTarget(reason))
                return None
            case AskPermit(name, patient):
                return self.asked(queue, waiter, name, kept, patient=patient)
            case WaitUntil(at_s, reason):
                self.withdraw(queue, waiter)
                waiter.patience = waiter.patience.at(self._clock.monotonic_s())
                if at_s > waiter.patience.deadline_s:
                    self.serve(queue, waiter, NoTarget(reason))
                    return None
                kept |= self.waited_for(waiter, kept)
                return self.held_up(queue, waiter, at_s, reason)

    def serve(self, queue: ModelQueue, waiter: Waiter, outcome: Call | NoTarget) -> None:
        waiter.outcome = outcome
        waiter.stirred.set()
        queue.leave(waiter)
        self.withdraw(queue, waiter)

    def held_up(self, queue: ModelQueue, waiter: Waiter, at_s: float, reason: str) -> float:
        queue.reason = reason
        waiter.patience = waiter.patience.waiting(self._clock.monotonic_s(), is_queued=reason != "breaker_open")
        queue.not_before_s = at_s if reason == "rate_limited" else -math.inf
        if not waiter.was_next:
            waiter.was_next = True
            waiter.stirred.set()
        return at_s

    def asked(self, queue: ModelQueue, waiter: Waiter, name: str, kept: set[str], *, patient: bool) -> float | None:
        """See to it that the holder of a target's limits is asked; where it does not answer in time, go elsewhere."""
        now_s, ask = self._clock.monotonic_s(), waiter.ask
        if self.desk is None or not waiter.may_ask:
            return self.held_up(queue, waiter, math.inf, "no_permit")
        if ask is not None and (ask.target != name or ask.phase == "over"):
            self.withdraw(queue, waiter)
            ask = None
        if ask is None:
            target = target_named(waiter.wish.served, name)
            ask = waiter.ask = self.desk.ask(target, waiter, patient=patient)
            queue.asking = waiter
        if patient:
            return self.held_up(queue, waiter, math.inf, "no_permit")
        answer_by_s = ask.asked_at_s + ANSWER_S
        if now_s < answer_by_s:
            return self.held_up(queue, waiter, answer_by_s, "no_permit")
        self.targets.by_name[name].refused_until_s = now_s + UNANSWERED_PAUSE_S
        self.withdraw(queue, waiter)
        return self.serve_own(queue, kept)

    def withdraw(self, queue: ModelQueue, waiter: Waiter) -> None:
        """Give back what the waiter has asked another worker for."""
        if waiter.ask is not None and self.desk is not None:
            self.desk.end(waiter.ask)
        waiter.ask = None
        if queue.asking is waiter:
            queue.asking = None

    def serve_foreign(self, queue: PermitQueue, kept: set[str]) -> float | None:
        """Serve the first of those who wait elsewhere for a target, as `serve_own`."""
        call = queue.first
        if call is None or self.desk is None:
            return math.inf
        state, now_s = call.state, self._clock.monotonic_s()
        name, places = state.target.name, state.limits.concurrent_max
        learned = state.limit.places(now_s, batch=call.priority == "batch")
        at_s = now_s + LOOK_AGAIN_S
        has_place = (places is None or state.in_flight < places) and (learned is None or state.limit.running < learned)
        if name not in kept and has_place:
            match self.targets.charge(state, call.tokens):
                case NeverFits():
                    self.desk.grants.refuse(call, REFUSED_FOR_GOOD_S)
                    return None
                case RetryAt(free_at_s):
                    at_s = free_at_s
                case charges:
                    self.desk.grants.grant(call, charges)
                    return None
        if not call.patient:
            self.desk.grants.refuse(call, at_s - now_s)
            return None
        kept.add(name)
        return at_s

    def chosen(self, wish: CallWish, *, waiter: Waiter | None = None, kept: Set[str] = frozenset()) -> RouteDecision:
        views = self.views(wish, waiter=waiter, kept=kept)
        return choose_target(views, wish.needs, tried=wish.tried, now_s=self._clock.monotonic_s())

    def views(self, wish: CallWish, *, waiter: Waiter | None, kept: Set[str]) -> list[TargetView]:
        permitted = waiter.permitted if waiter is not None else ""
        batch = waiter is not None and wish.priority == "batch"
        return [
            self.targets.view(
                target, wish.tokens, kept=target.name in kept, permitted=target.name == permitted, batch=batch
            )
            for target in wish.served.targets
        ]

    def waited_for(self, waiter: Waiter, kept: Set[str]) -> frozenset[str]:
        wish, views = waiter.wish, self.views(waiter.wish, waiter=waiter, kept=kept)
        return waited_for(views, wish.needs, tried=wish.tried, now_s=self._clock.monotonic_s())

    def taken(self, waiter: Waiter, name: str, reason: str) -> Call:
        target = target_named(waiter.wish.served, name)
        state, now_s = self.targets.of(target), self._clock.monotonic_s()
        permit: Ask | None = None
        seen: SeenCall | None = None
        charges: tuple[Charge, ...] = ()
        if waiter.permitted == name and waiter.ask is not None:
            permit, waiter.ask = waiter.ask, None
            permit.phase = "in_use"
        else:
            charged = self.targets.charge(state, waiter.wish.tokens)
            if not isinstance(charged, tuple):
                raise RuntimeError(f"{name} was chosen without room")
            charges = charged
            seen = state.limit.begin(now_s, batch=waiter.wish.priority == "batch")
        state.in_flight += 1
        self.calls += 1
        is_probe = self.targets.started_probe(state)
        return Call(state.provider, target, waiter.wish.served, reason, state, charges, is_probe, now_s, permit, seen)

    def set_timer(self, at_s: float) -> None:
        """Look again at a moment."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if at_s < math.inf:
            delay_s = max(TIMER_S_MIN, at_s - self._clock.monotonic_s())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self.dispatch)


def target_named(served: ServedModel, name: str) -> Target:
    return next(target for target in served.targets if target.name == name)
