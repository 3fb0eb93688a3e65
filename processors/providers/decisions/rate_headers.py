"""What a provider's headers say is left of its limits.

Every answer of most providers, refusals included, says how many requests and tokens the key has left and when that
changes. They spell it differently:

    x-ratelimit-remaining-requests, x-ratelimit-reset-requests, …-tokens     OpenAI, Groq, Azure, vLLM's gateways
    x-ratelimit-remaining, x-ratelimit-reset                                 Together, OpenRouter: requests
    anthropic-ratelimit-requests-remaining, …-reset, …-tokens-…              Anthropic

and say when as `1m30.5s`, `250ms`, seconds, a moment in seconds or milliseconds since 1970, or an ISO date. What cannot
be read says nothing: a header only ever tightens what we allow ourselves, so ignoring one costs a 429 at worst, while
guessing could stop a target for an hour. A remainder without its reset is ignored for the same reason. The `limit`
beside them (`x-ratelimit-limit-requests` …) says what is there again after the reset; its window may be a second or a
day.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from processors.providers.decisions.json_values import number_in

__all__ = ["LimitSeen", "RateHeaders", "read_rate_headers", "reset_in_s"]

REMAINING_AND_RESET: Final = {
    "requests": (
        ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
        ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
        ("x-ratelimit-remaining", "x-ratelimit-reset"),
    ),
    "tokens": (
        ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
        ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
        ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"),
    ),
}
HEADER_CHARS_MAX: Final = 64
DURATION_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|d|h|m|s)", re.ASCII)
DURATION: Final = re.compile(rf"(?:{DURATION_PART.pattern})+", re.ASCII)
SECONDS_OF: Final = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
EPOCH_S_MIN: Final = 1e9
"""A larger number is no duration but a moment since 1970, in seconds …"""
EPOCH_MS_MIN: Final = 1e12
"""… or in milliseconds."""


@dataclass(frozen=True, slots=True)
class LimitSeen:
    """What is left of one limit, in how many seconds that changes, and what there is then (infinite: unsaid)."""

    remaining: float
    reset_s: float
    limit: float = math.inf


@dataclass(frozen=True, slots=True)
class RateHeaders:
    """What an answer's headers say; None: nothing."""

    requests: LimitSeen | None = None
    tokens: LimitSeen | None = None


def read_rate_headers(headers: Mapping[str, str], now_s: float) -> RateHeaders | None:
    """Read them (names in small letters, or a mapping that does not care). `now_s`: seconds since 1970."""
    found = RateHeaders(requests=limit_seen(headers, "requests", now_s), tokens=limit_seen(headers, "tokens", now_s))
    return None if found == RateHeaders() else found


def reset_in_s(text: str, now_s: float) -> float | None:
    """Seconds until then, 0 or more; None where it cannot be read."""
    text = text.strip()
    if not text or len(text) > HEADER_CHARS_MAX:
        return None
    if DURATION.fullmatch(text):
        return sum(float(amount) * SECONDS_OF[unit] for amount, unit in DURATION_PART.findall(text))
    number = number_in(text)
    if number is not None:
        return seconds_until(number, now_s)
    at_s = date_in(text)
    return None if at_s is None else max(0.0, at_s - now_s)


def limit_seen(headers: Mapping[str, str], kind: str, now_s: float) -> LimitSeen | None:
    for remaining_name, reset_name in REMAINING_AND_RESET[kind]:
        remaining = number_in(headers.get(remaining_name, "").strip())
        reset_s = reset_in_s(headers.get(reset_name, ""), now_s)
        if remaining is not None and reset_s is not None:
            limit = number_in(headers.get(remaining_name.replace("remaining", "limit"), "").strip())
            return LimitSeen(remaining, reset_s, math.inf if limit is None else limit)
    return None


def seconds_until(number: float, now_s: float) -> float:
    if number >= EPOCH_MS_MIN:
        return max(0.0, number / 1_000 - now_s)
    return max(0.0, number - now_s) if number >= EPOCH_S_MIN else number


def date_in(text: str) -> float | None:
    """A moment by its ISO date; without a zone it is UTC."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
