"""A rate: how much may be asked for at once and for long, and what whoever asks for more is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from schemas.close_codes import FLOOD, CloseCode

__all__ = ["ADMIT", "Admission", "Admit", "MessageBucket", "Refuse"]


@dataclass(frozen=True, slots=True)
class Admit:
    """Go on."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Close with this code; the client may come back after `retry_after_s`."""

    code: CloseCode
    retry_after_s: float


Admission: TypeAlias = Admit | Refuse

ADMIT: Final = Admit()


class MessageBucket:
    """A message rate: holds `burst` and refills at `per_s`."""

    __slots__ = ("_refilled_at_s", "available", "burst", "per_s")

    def __init__(self, burst: int, per_s: float, *, now_s: float) -> None:
        self.burst = burst
        self.per_s = per_s
        self.available = float(burst)
        self._refilled_at_s = now_s

    def admit(self, messages: int, *, now_s: float) -> Admission:
        """Spend one token per message, or none; a clock that steps back refills nothing."""
        self.refill(now_s)
        if messages > self.available:
            wanted = messages + self.burst / 4  # coming back for one token would not be worth it
            return Refuse(FLOOD, round((wanted - self.available) / self.per_s, 3))
        self.available -= messages
        return ADMIT

    def spend(self, messages: int, *, now_s: float) -> float:
        """Spend them in any case; the seconds after which they are paid for."""
        self.refill(now_s)
        self.available -= messages
        return max(0.0, -self.available / self.per_s)

    def refill(self, now_s: float) -> None:
        elapsed_s = max(0.0, now_s - self._refilled_at_s)
        self._refilled_at_s = now_s
        self.available = min(float(self.burst), self.available + elapsed_s * self.per_s)
