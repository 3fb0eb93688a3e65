"""An account as one would write it first: lists of all that ever happened, each question answered from all of it.

What `processors/ledger/decisions/account.py` decides is compared with it. It knows no slots, totals or snapshots.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import Final

from schemas.ledger import NOTHING, Amount
from schemas.tiers import LimitName, Tier

__all__ = ["PlainAccount", "PlainRun", "Use"]

SECOND_US: Final = 1_000_000
DAY_US: Final = 86_400 * SECOND_US
MINUTES: Final = ("input_tokens_per_minute", "output_tokens_per_minute")


@dataclass(frozen=True, slots=True)
class Use:
    """So much was used, or (`correction`) less than was counted."""

    at_us: int
    key: tuple[str, str]
    session: str
    amount: Amount
    since_us: int
    """When the run was reserved."""
    correction: bool = False


@dataclass(slots=True)
class PlainRun:
    """A run that was reserved and has not ended."""

    at_us: int
    session: str
    held: Amount
    used: Amount = NOTHING


@dataclass(slots=True)
class PlainAccount:
    """One user's."""

    tier: Tier
    requests: list[int] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    open: dict[tuple[str, str], PlainRun] = field(default_factory=dict)

    def met(
        self,
        amount: Amount,
        now_us: int,
        *,
        session: str = "",
        turn_tokens: int = 0,
        stream_tokens: int = 0,
        requests: int = 0,
        turns: int = 0,
        beside: bool = True,
    ) -> dict[LimitName, int]:
        """The limits that do not allow it, each with what is taken of it."""
        asked: dict[LimitName, int] = {
            "requests_per_minute": requests,
            "input_tokens_per_minute": amount.input_tokens,
            "output_tokens_per_minute": amount.output_tokens,
            "bucket_tokens": amount.tokens,
            "tokens_per_day": amount.tokens,
            "tokens_per_turn": turn_tokens,
            "tokens_per_stream": stream_tokens,
            "tokens_per_session": amount.tokens,
            "concurrent_turns": turns,
            "nano_usd_per_month": amount.cost_nano_usd,
        }
        taken = {
            name: self.used(name, session, now_us) + (self.flight(name, session) if beside else 0)
            for name in self.tier.limits
        }
        return {
            name: taken[name]
            for name, limit in self.tier.limits.items()
            if name not in self.tier.shadow and asked[name] and taken[name] + asked[name] > limit
        }

    def used(self, name: LimitName, session: str, now_us: int) -> int:
        """What counts as used at this time."""
        match name:
            case "requests_per_minute":
                return sum(1 for at_us in self.requests if is_recent(at_us, now_us))
            case "input_tokens_per_minute":
                return sum(u.amount.input_tokens for u in self.uses if is_recent(u.at_us, now_us) and not u.correction)
            case "output_tokens_per_minute":
                return sum(u.amount.output_tokens for u in self.uses if is_recent(u.at_us, now_us) and not u.correction)
            case "bucket_tokens":
                return self.missing(now_us)
            case "tokens_per_day":
                today = now_us // DAY_US
                return sum(
                    -u.amount.tokens if u.correction else u.amount.tokens
                    for u in self.uses
                    if u.at_us // DAY_US == today and (u.since_us // DAY_US == today or not u.correction)
                )
            case "nano_usd_per_month":
                month = month_of(now_us)
                return sum(
                    -u.amount.cost_nano_usd if u.correction else u.amount.cost_nano_usd
                    for u in self.uses
                    if month_of(u.at_us) == month and (month_of(u.since_us) == month or not u.correction)
                )
            case "tokens_per_session":
                return self.of_session(session, now_us)
            case _:
                return 0

    def of_session(self, session: str, now_us: int) -> int:
        """What a session has used, since it last rested for a day."""
        tokens, newest_us = 0, 0
        for use in self.uses:
            if use.session != session or not use.amount.tokens:
                continue
            tokens = tokens if use.at_us < newest_us + DAY_US else 0
            change = -min(tokens, use.amount.tokens) if use.correction else use.amount.tokens
            tokens, newest_us = tokens + change, use.at_us if change else newest_us
        return tokens if now_us < newest_us + DAY_US else 0

    def missing(self, now_us: int) -> int:
        """Tokens that the bucket lacks, rounded up."""
        millionths, before_us, rate = 0, 0, self.tier.bucket_tokens_per_s
        for use in self.uses:
            if not use.correction:
                millionths = max(0, millionths - rate * (use.at_us - before_us)) + use.amount.tokens * SECOND_US
                before_us = use.at_us
        millionths = max(0, millionths - rate * (now_us - before_us))
        return (millionths + SECOND_US - 1) // SECOND_US

    def flight(self, name: LimitName, session: str) -> int:
        """What is reserved and not used."""
        flights = [
            (
                max(0, run.held.input_tokens - run.used.input_tokens),
                max(0, run.held.output_tokens - run.used.output_tokens),
                max(0, run.held.cost_nano_usd - run.used.cost_nano_usd),
                run.session,
            )
            for run in self.open.values()
        ]
        match name:
            case "input_tokens_per_minute":
                return sum(flight[0] for flight in flights)
            case "output_tokens_per_minute":
                return sum(flight[1] for flight in flights)
            case "bucket_tokens" | "tokens_per_day":
                return sum(flight[0] + flight[1] for flight in flights)
            case "nano_usd_per_month":
                return sum(flight[2] for flight in flights)
            case "tokens_per_session":
                return sum(flight[0] + flight[1] for flight in flights if flight[3] == session)
            case "concurrent_turns":
                return len({turn for turn, _ in self.open})
            case _:
                return 0

    def use(self, key: tuple[str, str], session: str, total: Amount, at_us: int, *, since_us: int) -> None:
        """A run that began at `since_us` is now known to have used so much in all."""
        signs = [(use, -1 if use.correction else 1) for use in self.uses if use.key == key]
        known = Amount(
            sum(sign * use.amount.input_tokens for use, sign in signs),
            sum(sign * use.amount.output_tokens for use, sign in signs),
            sum(sign * use.amount.cost_nano_usd for use, sign in signs),
        )
        more, less = above(total, known), above(known, total)
        if more != NOTHING:
            self.uses.append(Use(at_us, key, session, more, since_us))
        if less != NOTHING:
            self.uses.append(Use(at_us, key, session, less, since_us, correction=True))


def above(amount: Amount, other: Amount) -> Amount:
    return Amount(
        max(0, amount.input_tokens - other.input_tokens),
        max(0, amount.output_tokens - other.output_tokens),
        max(0, amount.cost_nano_usd - other.cost_nano_usd),
    )


def is_recent(at_us: int, now_us: int) -> bool:
    """Sixty seconds from the end of its second have not passed."""
    return now_us // SECOND_US - at_us // SECOND_US < 61


def month_of(at_us: int) -> tuple[int, int]:
    day = datetime.date(1970, 1, 1) + datetime.timedelta(days=at_us // DAY_US)
    return day.year, day.month
