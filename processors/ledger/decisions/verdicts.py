"""What is asked of an account, and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from schemas.ledger import Amount, RunAccount
from schemas.refusals import Refusal

__all__ = ["Asked", "Granted", "Refused", "Verdict"]


@dataclass(frozen=True, slots=True)
class Granted:
    """A run that fits."""

    run: RunAccount | None = None
    """The run's account, for the journal; None for a prompt that was only counted."""
    at_us: int = 0
    """The ledger time of it."""
    shadowed: tuple[Refusal, ...] = ()
    """Limits in shadow that would have refused it."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A run that does not fit; nothing was changed."""

    refusal: Refusal


Verdict: TypeAlias = Granted | Refused


@dataclass(slots=True)
class Asked:
    """What is asked for, by the measures that are limited."""

    amount: Amount
    session: str = ""
    requests: int = 0
    turns: int = 0
    turn_tokens: int = 0
    """Of the turn in all, what is asked for included."""
    stream_tokens: int = 0
    """The same of the run."""
    beside: bool = True
    """It is to fit beside what is in flight."""
