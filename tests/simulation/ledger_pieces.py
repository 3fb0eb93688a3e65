"""What a schedule of one user's account is made of: a tier, calls that are under way, what gateways refuse."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

import msgspec

from schemas.ledger import Amount, RunAccount, TurnAccount
from schemas.tiers import LimitName, Tier

__all__ = ["LIMITS", "Call", "Closed", "above", "larger", "some_tier", "with_run"]

LIMITS: Final[dict[LimitName, tuple[int, int]]] = {
    "requests_per_minute": (2, 8),
    "input_tokens_per_minute": (60, 400),
    "output_tokens_per_minute": (60, 400),
    "bucket_tokens": (80, 500),
    "tokens_per_day": (100, 1_500),
    "tokens_per_turn": (60, 400),
    "tokens_per_stream": (60, 300),
    "tokens_per_session": (100, 900),
    "concurrent_turns": (1, 4),
    "nano_usd_per_month": (300, 6_000),
}


def some_tier(draw: random.Random) -> Tier:
    """Each limit as likely there as not, small enough to be met."""
    limits = {name: draw.randint(*between) for name, between in LIMITS.items() if draw.random() < 0.4}
    shadow = frozenset(name for name in limits if draw.random() < 0.05)
    return Tier(name="drawn", limits=limits, bucket_tokens_per_s=draw.choice((1, 3, 10)), shadow=shadow)


@dataclass(slots=True)
class Call:
    """A run that is under way at a worker."""

    account: RunAccount
    used: Amount
    left: bool = False
    """At a worker that has lost the partition."""
    final: Amount | None = None
    """What it has used in all, where its ending is on the session's log already."""


@dataclass(slots=True)
class Closed:
    """What a gateway refuses by itself, and until when."""

    amount: Amount
    session: str
    requests: int = 0
    until_us: int = 0


def with_run(entry: TurnAccount, run: RunAccount) -> TurnAccount:
    others = tuple(other for other in entry.runs if other.run != run.run)
    return msgspec.structs.replace(entry, runs=(*others, run))


def above(amount: Amount, other: Amount) -> Amount:
    return Amount(
        max(0, amount.input_tokens - other.input_tokens),
        max(0, amount.output_tokens - other.output_tokens),
        max(0, amount.cost_nano_usd - other.cost_nano_usd),
    )


def larger(amount: Amount, other: Amount) -> Amount:
    return Amount(
        max(amount.input_tokens, other.input_tokens),
        max(amount.output_tokens, other.output_tokens),
        max(amount.cost_nano_usd, other.cost_nano_usd),
    )
