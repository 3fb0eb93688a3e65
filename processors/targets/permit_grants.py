"""The permits that other workers have asked this one for, because a part of a target's limits is here.

They wait in a queue of their own for each target, which the pool serves beside those of its models, in one order; what
is granted takes a place and is charged as a call of our own. Nothing of this is kept anywhere else: after a move of the
part the next holder hears of the permits from those who hold them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from infra.clock import Clock
from processors.targets.decisions.call_limit import SeenCall
from processors.targets.decisions.permit_rules import LEASE_S, PermitPhase, on_asked
from processors.targets.decisions.priority_queue import PriorityQueue, Standing
from processors.targets.decisions.rate_window import Charge, settle
from processors.targets.permit_asks import CarryPermit
from processors.targets.target_states import TargetState
from schemas.permits import PermitAsked, PermitGranted, PermitRefused, PermitReturned
from schemas.prompts import Priority

__all__ = ["ForeignCall", "PermitGrants", "PermitQueue"]

SEEN_S: Final = 600.0
"""How long a worker that asks for nothing is remembered: longer than one that asks goes without asking (`SHARED_S`)."""


@dataclass(slots=True, eq=False)
class ForeignCall:
    """A call that another worker wants to make, or makes."""

    permit: str
    state: TargetState
    tokens: int
    holder: int
    """The partition that the ask came on."""
    reply_partition: int
    patient: bool
    until_s: float
    """Without another word it is forgotten then."""
    priority: Priority = "interactive"
    standing: Standing | None = None
    charges: tuple[Charge, ...] = ()
    phase: PermitPhase = "waiting"
    seen: SeenCall | None = None
    """What the target's limit knows of it, once it has a place."""

    @property
    def target(self) -> str:
        """Whom it is for."""
        return self.state.target.name


@dataclass(slots=True, eq=False)
class PermitQueue:
    """Those who wait elsewhere for one target."""

    order: PriorityQueue = field(default_factory=PriorityQueue)
    calls: dict[Standing, ForeignCall] = field(default_factory=dict)

    def leave(self, call: ForeignCall) -> None:
        """Step out; nothing where it did."""
        if call.standing is not None and self.order.leave(call.standing):
            del self.calls[call.standing]

    @property
    def first(self) -> ForeignCall | None:
        """Who is next."""
        standing = self.order.first
        return self.calls[standing] if standing is not None else None


class PermitGrants:
    """Other workers' permits, by their names."""

    def __init__(self, carry: CarryPermit, clock: Clock) -> None:
        self._carry = carry
        self._clock = clock
        self.calls: dict[str, ForeignCall] = {}
        self.queues: dict[str, PermitQueue] = {}
        self._seen: dict[tuple[str, str], float] = {}
        """When each worker was last given a permit, by target and worker; forgotten after SEEN_S."""

    def on_asked(self, asked: PermitAsked, state: TargetState, partition: int, number: int) -> ForeignCall:
        """Take an ask in that came on a partition of ours. `number`: for its position in the queue."""
        known = self.calls.get(asked.permit)
        act = on_asked(known.phase if known else None, held=asked.held)
        now_s = self._clock.monotonic_s()
        call = known or ForeignCall(
            asked.permit, state, asked.tokens, partition, asked.reply_partition, asked.patient, now_s, asked.priority
        )
        self.calls[asked.permit] = call
        call.until_s = now_s + LEASE_S
        call.reply_partition = asked.reply_partition
        match act:
            case "queue":
                queue = self.queues.setdefault(asked.target, PermitQueue())
                call.standing = queue.order.join(asked.priority, now_s - asked.waited_s, number)
                queue.calls[call.standing] = call
            case "grant_again":
                self.tell_granted(call)
            case "adopt":
                self.step_out(call)
                self.place(call)
            case "renew":
                pass
        return call

    def grant(self, call: ForeignCall, charges: tuple[Charge, ...]) -> None:
        """Let the first in the queue through: it was charged, and takes a place from now on."""
        self.step_out(call)
        call.charges = charges
        self.place(call)
        self.tell_granted(call)

    def place(self, call: ForeignCall) -> None:
        """It takes a place from now on."""
        call.phase = "granted"
        call.state.in_flight += 1
        now_s, limit = self._clock.monotonic_s(), call.state.limit
        worker = (call.target, call.permit.rpartition("-")[0])
        if worker not in self._seen:
            self._seen = {one: at_s for one, at_s in self._seen.items() if now_s - at_s <= SEEN_S}
            limit.see_more()
        self._seen[worker] = now_s
        call.seen = limit.begin(now_s, batch=call.priority == "batch", foreign=True)

    def refuse(self, call: ForeignCall, retry_after_s: float) -> None:
        """Send it away."""
        self.step_out(call)
        del self.calls[call.permit]
        refused = PermitRefused(permit=call.permit, target=call.target, retry_after_s=retry_after_s)
        self._carry(call.reply_partition, refused)

    def on_returned(self, returned: PermitReturned) -> bool:
        """The call has ended or is not wanted any more; True where a place came back or the queue moved."""
        call = self.calls.get(returned.permit)
        if call is None:
            return False
        self.forget(call, used=returned.tokens_used, returned=returned)
        return True

    def expire(self) -> None:
        """Forget those that nobody speaks of any more."""
        now_s = self._clock.monotonic_s()
        for call in [call for call in self.calls.values() if call.until_s <= now_s]:
            self.forget(call, used=None)

    @property
    def due_at_s(self) -> float:
        """When the next one's time is over."""
        return min((call.until_s for call in self.calls.values()), default=math.inf)

    def extend(self) -> None:
        """The group was shuffled, and nobody could be heard meanwhile: every lease begins anew."""
        until_s = self._clock.monotonic_s() + LEASE_S
        for call in self.calls.values():
            call.until_s = until_s

    def drop(self, state: TargetState) -> None:
        """The target's limits are another worker's now: it is for that one to remember."""
        for call in [call for call in self.calls.values() if call.state is state]:
            self.forget(call, used=None)

    def forget(self, call: ForeignCall, *, used: int | None, returned: PermitReturned | None = None) -> None:
        """`used`: tokens, where that is known; otherwise the charge stands. `returned`: how it went, likewise."""
        del self.calls[call.permit]
        self.step_out(call)
        if call.phase == "waiting":
            return
        call.state.in_flight -= 1
        self.settle_limit(call, returned)
        if call.charges and used is not None:
            now_s = self._clock.monotonic_s()
            call.state.tokens = settle(call.state.tokens, call.charges[1], used, now_s)

    def settle_limit(self, call: ForeignCall, returned: PermitReturned | None) -> None:
        """Give the place back to the target's limit, and what its call has shown."""
        now_s, limit = self._clock.monotonic_s(), call.state.limit
        if call.seen is None:
            return
        if returned is None:
            limit.end(call.seen, now_s)
            return
        limit.returned(
            call.seen, now_s, returned.outcome, first_token_s=returned.first_token_s, input_tokens=returned.input_tokens
        )

    def step_out(self, call: ForeignCall) -> None:
        queue = self.queues.get(call.target)
        if queue is not None:
            queue.leave(call)
            if not queue.calls:
                del self.queues[call.target]

    def tell_granted(self, call: ForeignCall) -> None:
        granted = PermitGranted(permit=call.permit, target=call.target, holder=call.holder)
        self._carry(call.reply_partition, granted)
