"""Where permits are asked for and given: this worker's asks, the grants it gave, and the way in and out of words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from infra.clock import Clock
from infra.targets.model_catalogue import Target
from processors.targets.model_lines import Waiter
from processors.targets.permit_asks import Ask, PermitAsks
from processors.targets.permit_courier import PermitCourier, SendPermit
from processors.targets.permit_grants import PermitGrants
from processors.targets.target_states import TargetState, TargetStates
from schemas.permits import PermitAsked, PermitCommand, PermitGranted, PermitRefused, PermitReturned

__all__ = ["PermitDesk"]

NOT_HERE_S: Final = 5.0
"""How long an asker leaves us alone that asks for a target which is not ours to give."""
REFUSED_S_MIN: Final = 0.25
"""A refused asker asks again no sooner."""


class PermitDesk:
    """One worker's."""

    def __init__(self, send: SendPermit, clock: Clock, find_target: Callable[[str], Target | None]) -> None:
        self.find_target = find_target
        self.courier = PermitCourier(send)
        self.asks = PermitAsks(self.courier, clock, self.own_partition)
        self.grants = PermitGrants(self.courier, clock)
        self.clock = clock
        self.states: TargetStates | None = None
        self.next_number: Callable[[], int] = lambda: 0
        self.on_change: Callable[[], None] = lambda: None

    def open(self, states: TargetStates, next_number: Callable[[], int], on_change: Callable[[], None]) -> None:
        """Serve a pool. `next_number`: for places in line; `on_change` is called when somebody may be to be served."""
        self.states = states
        self.next_number = next_number
        self.on_change = on_change

    def take(self, command: PermitCommand, partition: int) -> None:
        """Hear a word that came on a partition of this worker's. Nothing changes when it comes twice."""
        match command:
            case PermitAsked():
                self.take_ask(command, partition)
            case PermitReturned():
                self.grants.on_returned(command)
            case PermitGranted():
                self.asks.on_granted(command)
            case PermitRefused():
                self.take_refusal(command)
        self.on_change()

    def ask(self, target: Target, waiter: Waiter, *, patient: bool) -> Ask:
        """Ask a holder of the target's limits to let a call through."""
        return self.asks.ask(
            target.name,
            self.opened().holders_of(target),
            tokens=waiter.tokens,
            priority=waiter.priority,
            patient=patient,
            arrived_s=waiter.arrived_s,
        )

    def end(self, ask: Ask, tokens_used: int = 0) -> None:
        """Return a permit, used or not."""
        self.asks.end(ask, tokens_used)

    def on_share(self, lost: list[TargetState]) -> None:
        """This worker owns other partitions than before; of `lost` it holds no part any more."""
        for state in lost:
            self.grants.drop(state)
        self.grants.extend()

    def tidy(self) -> None:
        """Say again and forget what is due."""
        self.asks.renew()
        self.grants.expire()

    @property
    def due_at_s(self) -> float:
        """When there is something to tidy."""
        return min(self.asks.due_at_s, self.grants.due_at_s)

    async def aclose(self) -> None:
        """Send nothing more."""
        await self.courier.aclose()

    def take_ask(self, asked: PermitAsked, partition: int) -> None:
        target = self.find_target(asked.target)
        state = self.opened().of(target) if target is not None else None
        if state is not None and state.is_held:
            self.grants.on_asked(asked, state, partition, self.next_number())
        elif not asked.held:  # another file is in force there, or was
            refused = PermitRefused(permit=asked.permit, target=asked.target, retry_after_s=NOT_HERE_S)
            self.courier.carry(asked.reply_partition, refused)

    def take_refusal(self, refused: PermitRefused) -> None:
        ask = self.asks.on_refused(refused)
        state = self.opened().by_name.get(refused.target) if ask is not None else None
        if state is not None:
            state.refused_until_s = self.clock.monotonic_s() + max(REFUSED_S_MIN, refused.retry_after_s)

    def opened(self) -> TargetStates:
        if self.states is None:
            raise RuntimeError("the desk serves no pool")
        return self.states

    def own_partition(self) -> int | None:
        return min(self.states.share.owned, default=None) if self.states is not None else None
