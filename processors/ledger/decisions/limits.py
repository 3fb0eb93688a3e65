"""Whether what is asked for fits the limits, and what a user is told where it does not.

Each limit is judged alone, by four numbers: the limit, what is `used`, what is in `flight` (reserved for runs that are
open, and not used yet) and what is `asked` for. It fits where used + flight + asked <= limit. Otherwise it is

lasting      asked > limit: it never fits; or nothing but another session frees the limit
in flight    it would fit without what is in flight, or what is in flight leaves no room for it however long one waits:
             nobody can say when it does, as runs may use less than was reserved for them
timed        it fits when enough of what is used has aged: at a moment that is known

Several limits may be met at once. The one that is told is the hardest: lasting before in flight before timed, and of
timed ones the latest, so that a prompt sent again at that moment, nothing else having happened, meets no limit at
all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec

from schemas.refusals import LimitSource, Refusal
from schemas.tiers import LimitName, Tier

__all__ = [
    "BLOCKED",
    "OF_ANSWERS",
    "REMEDIES",
    "UNPRICED",
    "Judged",
    "Measure",
    "hardest",
    "judge",
    "needs_price",
    "sentence_of",
]

MILLISECOND_US: Final = 1_000

REMEDIES: Final[Mapping[LimitName, str]] = MappingProxyType(
    {
        "requests_per_minute": "send prompts less often",
        "input_tokens_per_minute": "send shorter prompts, or less often",
        "output_tokens_per_minute": "ask for shorter answers with max_tokens, or less often",
        "bucket_tokens": "wait for the bucket to fill, or ask for less: a shorter prompt, a lower max_tokens",
        "tokens_per_day": "go on after midnight UTC, or ask your operator for more",
        "tokens_per_turn": "send a shorter prompt, or ask for a shorter answer with max_tokens",
        "tokens_per_stream": "send a shorter prompt, or ask for a shorter answer with max_tokens",
        "tokens_per_session": "begin a new session",
        "concurrent_turns": "wait for one of your prompts that run to be answered",
        "nano_usd_per_month": "go on next month, or ask your operator for more",
    }
)
"""Of the limits that an account keeps."""
OF_ANSWERS: Final = frozenset[LimitName](
    {
        "output_tokens_per_minute",
        "bucket_tokens",
        "tokens_per_day",
        "tokens_per_turn",
        "tokens_per_stream",
        "tokens_per_session",
        "nano_usd_per_month",
    }
)
"""Limits that an answer meets as it grows."""
WAIT_IN_FLIGHT: Final = "wait for one of your prompts that run to be answered"
WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "requests_per_minute": "requests a minute",
        "input_tokens_per_minute": "input tokens a minute",
        "output_tokens_per_minute": "output tokens a minute",
        "bucket_tokens": "tokens in the bucket",
        "tokens_per_day": "tokens a day",
        "tokens_per_turn": "tokens a prompt and its answer",
        "tokens_per_stream": "tokens an attempt",
        "tokens_per_session": "tokens a session",
        "concurrent_turns": "prompts at once",
        "nano_usd_per_month": "billionths of a dollar a month",
    }
)

OTHER_WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "blocked": "You may send no prompts now",
        "unpriced": "Nobody knows what this model costs",
        "moved": "Another worker has taken over, and nothing more can be reserved here",
    }
)
"""Of refusals that are about no limit."""

BLOCKED: Final = Refusal(code="blocked", remedy="ask your operator")
UNPRICED: Final = Refusal(
    code="unpriced", remedy="ask for a model that has a price, or have your operator give this one a price"
)


class Measure(NamedTuple):
    """How one limit stands."""

    name: LimitName
    limit: int
    used: int
    flight: int
    asked: int

    @property
    def fits(self) -> bool:
        """Whether what is asked for is within the limit; nothing always is, also where a limit was made smaller."""
        return not self.asked or self.used + self.flight + self.asked <= self.limit


@dataclass(frozen=True, slots=True)
class Judged:
    """A limit that was met: what is told of it."""

    refusal: Refusal
    hardness: tuple[int, float]


def judge(
    measure: Measure, frees_us: Callable[[LimitName, int], int | None], now_us: int, *, unsure: int = 0
) -> Judged:
    """What to tell of a limit that is met.

    `frees_us`: when no more than so much is used, if nothing more is; None: never. `unsure`: of what is used, what runs
    that are open may turn out not to have used.
    """
    name, limit, used, flight, asked = measure
    lasting = asked > limit
    source: LimitSource = "session" if name == "tokens_per_session" else "user"
    remedy, retry_s, closed_s = REMEDIES[name], None, 0.0
    if not lasting and (used + asked <= limit or flight + asked > limit):
        source, remedy = "in_flight", WAIT_IN_FLIGHT
    elif not lasting:
        at_us = frees_us(name, limit - flight - asked)
        lasting = at_us is None
        if at_us is not None:
            retry_s = -((now_us - at_us) // MILLISECOND_US) / 1_000  # rounded up: never told too early
    if not lasting and used - unsure + asked > limit:
        closed_us = frees_us(name, limit - asked + unsure)
        closed_s = max(0, (closed_us or 0) - now_us) // MILLISECOND_US / 1_000  # rounded down: never kept too long
    refusal = Refusal(
        code=name,
        limit=limit,
        used=used + flight,
        remaining=max(0, limit - used - flight),
        asked=asked,
        limit_source=source,
        remedy=remedy,
        temporary=not lasting,
        retry_after_s=retry_s,
        closed_for_s=closed_s,
    )
    return Judged(refusal, (2 if lasting else 1 if retry_s is None else 0, retry_s or 0.0))


def hardest(met: Sequence[Judged]) -> Refusal:
    """Of the limits that are met the one to tell of; it is closed for as long as any of them is."""
    told = max(met, key=lambda judged: judged.hardness).refusal
    closed_s = max(judged.refusal.closed_for_s for judged in met)
    return told if told.closed_for_s == closed_s else msgspec.structs.replace(told, closed_for_s=closed_s)


def sentence_of(refusal: Refusal) -> str:
    """A refusal for people."""
    if refusal.code not in WORDS:
        return f"{OTHER_WORDS[refusal.code]}; {refusal.remedy}."
    words = (
        f"{refusal.limit:,} {WORDS[refusal.code]} are allowed, {refusal.used:,} are taken, this needs {refusal.asked:,}"
    )
    when = f"; it fits in {refusal.retry_after_s:g} s" if refusal.retry_after_s is not None else ""
    return f"{words}{when}; {refusal.remedy}."


def needs_price(tier: Tier) -> bool:
    """Whether a model without a price is refused."""
    limited = "nano_usd_per_month" in tier.limits and "nano_usd_per_month" not in tier.shadow
    return limited and tier.unpriced == "refuse"
