"""Those who wait for a place at a model's targets, and those who wait elsewhere for our permit to call one."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field, replace

from infra.targets.model_catalogue import ServedModel, Target
from processors.providers.provider import ChatProvider
from processors.targets.decisions.call_limit import SeenCall
from processors.targets.decisions.patience import Patience
from processors.targets.decisions.priority_queue import PriorityQueue, Standing
from processors.targets.decisions.provider_router import CallNeeds
from processors.targets.decisions.queue_wait import RECENT_DURATIONS_MAX
from processors.targets.decisions.rate_window import Charge
from processors.targets.permit_asks import Ask
from processors.targets.target_states import TargetState
from schemas.prompts import Priority

__all__ = ["Call", "CallWish", "ModelQueue", "NoTarget", "Waiter"]


class NoTarget(Exception):
    """No target of the model can take the call, now or in time. `reason` is the router's."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True, eq=False)
class Call:
    """A place at a target and in this worker. Finish it exactly once."""

    provider: ChatProvider
    """Who answers."""
    target: Target
    served: ServedModel
    reason: str
    state: TargetState | None = None
    """Where it has its place; None: what it says is remembered, nobody is called, and there is nothing to give back."""
    charges: tuple[Charge, ...] = ()
    """Requests and tokens; nothing where another worker's permit was charged."""
    is_probe: bool = False
    started_s: float = 0.0
    permit: Ask | None = None
    """The permit of the limit's holder, where that is another worker."""
    seen: SeenCall | None = None
    """What the target's limit knows of it; None where that is another worker's, or nobody is called."""
    stood_in_queue: bool = False
    """It ran out of time before its first token, while the target answered other calls of ours."""
    finished: bool = False
    patience: Patience | None = None
    """What the wait for it has left of the search's; None: it was not waited for."""


@dataclass(frozen=True, slots=True)
class CallWish:
    """What is looked for: a place at one of a model's targets."""

    served: ServedModel
    needs: CallNeeds
    tokens: int
    tried: frozenset[str] = frozenset()
    """Targets that are not asked again."""
    priority: Priority = "interactive"

    def without(self, *targets: str) -> CallWish:
        """The same, at others than these."""
        return replace(self, tried=self.tried.union(targets))


@dataclass(slots=True, eq=False)
class Waiter:
    """One call that waits for its place."""

    wish: CallWish
    arrived_s: float
    patience: Patience
    may_ask: bool = True
    """Whether it stays long enough to ask another worker."""
    outcome: Call | NoTarget | None = None
    was_next: bool = False
    stirred: asyncio.Event = field(default_factory=asyncio.Event)
    """It has its outcome, or has become the next one."""
    standing: Standing | None = None
    ask: Ask | None = None
    """What it has asked another worker for."""

    @property
    def permitted(self) -> str:
        """The target that another worker lets it call; empty: none."""
        return self.ask.target if self.ask is not None and self.ask.phase == "granted" else ""


@dataclass(slots=True, eq=False)
class ModelQueue:
    """Those who wait for one model."""

    order: PriorityQueue = field(default_factory=PriorityQueue)
    waiters: dict[Standing, Waiter] = field(default_factory=dict)
    durations_s: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT_DURATIONS_MAX))
    """How long the model's last calls took."""
    not_before_s: float = 0.0
    """Before this moment a rate limit lets nobody start."""
    reason: str = "busy"
    """Why the first of them waits."""
    asking: Waiter | None = None
    """Who has asked another worker for a permit."""

    def join(self, waiter: Waiter, number: int) -> None:
        """Join it."""
        waiter.standing = self.order.join(waiter.wish.priority, waiter.arrived_s, number)
        self.waiters[waiter.standing] = waiter

    def leave(self, waiter: Waiter) -> None:
        """Step out; nothing where it did."""
        if waiter.standing is not None and self.order.leave(waiter.standing):
            del self.waiters[waiter.standing]

    def before(self, waiter: Waiter) -> int:
        """How many go first."""
        return self.order.before(waiter.standing) if waiter.standing is not None else 0

    @property
    def first(self) -> Waiter | None:
        """Who is next."""
        standing = self.order.first
        return self.waiters[standing] if standing is not None else None
