"""The permits that this worker has asked for: to call targets whose limits another worker holds.

Every ask is repeated until it is answered, and every permit until its call has ended; `decisions/permit_rules.py` says
what the holder makes of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias
from uuid import uuid4

from infra.clock import Clock
from processors.targets.decisions.permit_rules import RENEW_S
from schemas.permits import CallOutcome, PermitAsked, PermitCommand, PermitGranted, PermitRefused, PermitReturned
from schemas.prompts import Priority

__all__ = ["Ask", "CarryPermit", "PermitAsks"]

CarryPermit: TypeAlias = Callable[[int, PermitCommand], None]
"""Sends a word to the owner of a partition soon."""

AskPhase: TypeAlias = Literal["pending", "granted", "in_use", "over"]


@dataclass(slots=True, eq=False)
class Ask:
    """One permit, from the first ask to its return."""

    permit: str
    target: str
    holder: int
    """The partition whose owner holds a part of the target's limits."""
    tokens: int
    priority: Priority
    patient: bool
    arrived_s: float
    asked_at_s: float
    renew_at_s: float
    phase: AskPhase = "pending"
    first_token_s: float | None = None
    """From the call's request to its first token."""
    input_tokens: int = 0
    outcome: CallOutcome = "ended"


class PermitAsks:
    """Asks, repeats itself, and gives back."""

    def __init__(self, carry: CarryPermit, clock: Clock, reply_partition: Callable[[], int | None]) -> None:
        self._carry = carry
        self._clock = clock
        self._reply_partition = reply_partition
        """A partition that this worker owns at the moment, if any."""
        self._worker = uuid4().hex[:12]
        self._count = 0
        self.open: dict[str, Ask] = {}

    def ask(
        self, target: str, holders: tuple[int, ...], *, tokens: int, priority: Priority, patient: bool, arrived_s: float
    ) -> Ask:
        """Ask for a permit; where the limits are held in several parts, each time the next one's holder."""
        self._count += 1
        now_s = self._clock.monotonic_s()
        ask = Ask(
            permit=f"{self._worker}-{self._count}",
            target=target,
            holder=holders[self._count % len(holders)],
            tokens=tokens,
            priority=priority,
            patient=patient,
            arrived_s=arrived_s,
            asked_at_s=now_s,
            renew_at_s=now_s,
        )
        self.open[ask.permit] = ask
        self.say(ask, now_s)
        return ask

    def end(self, ask: Ask, tokens_used: int = 0) -> None:
        """The call has ended, or the permit is not wanted any more."""
        if self.open.pop(ask.permit, None) is not None:
            returned = PermitReturned(
                permit=ask.permit,
                target=ask.target,
                tokens_used=tokens_used,
                outcome=ask.outcome,
                first_token_s=ask.first_token_s,
                input_tokens=ask.input_tokens,
            )
            self._carry(ask.holder, returned)

    def on_granted(self, command: PermitGranted) -> bool:
        """True where somebody waited for it.

        One of ours that nobody wants any more is given back. Another worker's is not: that one may live, and asks
        again where it now is; if it is dead, the lease ends.
        """
        ask = self.open.get(command.permit)
        if ask is not None and ask.phase == "pending":
            ask.phase = "granted"
            return True
        if ask is None and command.permit.startswith(f"{self._worker}-"):
            self._carry(command.holder, PermitReturned(permit=command.permit, target=command.target))
        return False

    def on_refused(self, command: PermitRefused) -> Ask | None:
        """The ask that is over; None: it was over before."""
        ask = self.open.get(command.permit)
        if ask is None or ask.phase != "pending":
            return None
        ask.phase = "over"
        return self.open.pop(command.permit)

    def renew(self) -> None:
        """Repeat what is due."""
        now_s = self._clock.monotonic_s()
        for ask in self.open.values():
            if ask.renew_at_s <= now_s:
                self.say(ask, now_s)

    @property
    def due_at_s(self) -> float:
        """When something is to be repeated."""
        return min((ask.renew_at_s for ask in self.open.values()), default=math.inf)

    def say(self, ask: Ask, now_s: float) -> None:
        ask.renew_at_s = now_s + RENEW_S
        partition = self._reply_partition()
        if partition is None and ask.phase == "pending":
            return  # nothing is ours, so no answer would come; the next time there may be something
        asked = PermitAsked(
            permit=ask.permit,
            target=ask.target,
            reply_partition=partition or 0,
            tokens=ask.tokens,
            priority=ask.priority,
            waited_s=max(0.0, now_s - ask.arrived_s),
            patient=ask.patient,
            held=ask.phase != "pending",
        )
        self._carry(ask.holder, asked)
