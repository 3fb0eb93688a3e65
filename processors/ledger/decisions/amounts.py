"""Amounts of tokens and money beside each other, each part by itself."""

from __future__ import annotations

from schemas.ledger import Amount, RunAccount

__all__ = ["above", "in_flight", "larger"]


def in_flight(run: RunAccount) -> Amount:
    """What is reserved and not used yet; what is used beyond the reservation makes it no less."""
    return above(run.held, run.used)


def above(amount: Amount, other: Amount) -> Amount:
    """By how much one is more than the other."""
    return Amount(
        max(0, amount.input_tokens - other.input_tokens),
        max(0, amount.output_tokens - other.output_tokens),
        max(0, amount.cost_nano_usd - other.cost_nano_usd),
    )


def larger(amount: Amount, other: Amount) -> Amount:
    """The larger of both."""
    return Amount(
        max(amount.input_tokens, other.input_tokens),
        max(amount.output_tokens, other.output_tokens),
        max(amount.cost_nano_usd, other.cost_nano_usd),
    )
