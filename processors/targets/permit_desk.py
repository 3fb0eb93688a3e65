"""Where permits are asked for and given: this worker's asks, the grants it gave, and the way in and out of words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import structlog

from infra.kafka.cluster_errors import ClusterUnavailable
from infra.targets.model_catalogue import Target
from processors.targets.model_queues import Waiter
from processors.targets.permit_asks import Ask, PermitAsks
from processors.targets.permit_grants import PermitGrants, PermitQueue
from processors.targets.target_states import TargetState, TargetStates
from processors.writing.word_queue import WordQueue
from schemas.permits import PermitAsked, PermitCommand, PermitGranted, PermitRefused, PermitReturned

__all__ = ["PermitDesk", "SendPermit"]

log = structlog.get_logger(__name__)

SendPermit: TypeAlias = Callable[[int, PermitCommand], Awaitable[object]]
"""Appends a word to a partition of the prompts topic. Raises AppendFailed."""

NOT_HERE_S: Final = 5.0
"""How long an asker leaves us alone that asks for a target which is not ours to give."""
REFUSED_S_MIN: Final = 0.25
"""A refused asker asks again no sooner."""


class PermitDesk:
    """One worker's desk for permits."""

    def __init__(
        self, send: SendPermit, states: TargetStates, next_number: Callable[[], int], on_change: Callable[[], None]
    ) -> None:
        """`next_number`: for positions in queues; `on_change` is called when somebody may be to be served."""
        self._send = send
        self._states = states
        self._next_number = next_number
        self._on_change = on_change
        self._words: WordQueue[tuple[int, PermitCommand]] = WordQueue(self.send_all, name="permit-words")
        self.asks = PermitAsks(self.carry, states.clock, self.own_partition)
        self.grants = PermitGrants(self.carry, states.clock)

    def carry(self, partition: int, command: PermitCommand) -> None:
        """Send a word to the owner of a partition soon."""
        self._words.say((partition, command))

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
        self._on_change()

    def ask(self, target: Target, waiter: Waiter, *, patient: bool) -> Ask:
        """Ask a holder of the target's limits to let a call through."""
        return self.asks.ask(
            target.name,
            self._states.holders_of(target),
            tokens=waiter.wish.tokens,
            priority=waiter.wish.priority,
            patient=patient,
            arrived_s=waiter.arrived_s,
        )

    def end(self, ask: Ask, tokens_used: int = 0) -> None:
        """Return a permit, used or not."""
        self.asks.end(ask, tokens_used)

    def queues(self) -> list[PermitQueue]:
        """Those who wait elsewhere, by target."""
        return list(self.grants.queues.values())

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
        """See `WordQueue.aclose`."""
        await self._words.aclose()

    async def send_all(self, words: list[tuple[int, PermitCommand]]) -> None:
        """Asks are said again, grants when asked again, and a lease ends on its own: a word that is lost is let go."""
        for partition, command in words:
            try:
                await self._send(partition, command)
            except ClusterUnavailable as error:
                log.warning("permit_word_lost", word=type(command).__name__, partition=partition, reason=str(error))

    def take_ask(self, asked: PermitAsked, partition: int) -> None:
        target = self._states.find_target(asked.target)
        state = self._states.of(target) if target is not None else None
        if state is not None and state.is_held:
            self.grants.on_asked(asked, state, partition, self._next_number())
        elif not asked.held:  # another file is in force there, or was
            refused = PermitRefused(permit=asked.permit, target=asked.target, retry_after_s=NOT_HERE_S)
            self.carry(asked.reply_partition, refused)

    def take_refusal(self, refused: PermitRefused) -> None:
        ask = self.asks.on_refused(refused)
        state = self._states.by_name.get(refused.target) if ask is not None else None
        if state is not None:
            state.refused_until_s = self._states.clock.monotonic_s() + max(REFUSED_S_MIN, refused.retry_after_s)

    def own_partition(self) -> int | None:
        return min(self._states.share.owned, default=None)
