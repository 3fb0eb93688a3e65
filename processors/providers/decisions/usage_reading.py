"""Tokens as a provider counted them, whatever it calls them, in the one meaning that prices are made for.

`input_tokens` are all that was read, those from a cache and those written to one among them. `output_tokens` are all
that was paid for as output, thoughts among them. Providers differ: thoughts may stand outside `completion_tokens` and
only in the total; cache reads and writes outside `prompt_tokens`. Where the total is more than prompt and completion,
the rest is whatever it fits exactly; else output, once a cache that cannot be part of the prompt is taken off.

The provider's own cost is kept in billionths of a dollar, exactly as it says it.

Nothing is a usage that lacks one of the counts, or has only zeros: then the last good one counts, or our own count.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final, TypeAlias

from processors.providers.decisions.json_values import count_in, number_in
from schemas.session_events import Usage

__all__ = ["read_usage"]

Path: TypeAlias = tuple[str, ...]

PROMPT: Final[tuple[Path, ...]] = (("prompt_tokens",), ("input_tokens",))
COMPLETION: Final[tuple[Path, ...]] = (("completion_tokens",), ("output_tokens",))
TOTAL: Final[tuple[Path, ...]] = (("total_tokens",),)
DETAILS: Final = ("prompt_tokens_details", "input_tokens_details", "prompt_token_details")
CACHE_READ: Final[tuple[Path, ...]] = (
    *((details, "cached_tokens") for details in DETAILS),
    *((details, "cache_read_tokens") for details in DETAILS),
    ("cached_tokens",),
    ("prompt_cache_hit_tokens",),
    ("cache_read_input_tokens",),
    ("cache_read_tokens",),
    ("num_cached_tokens",),
)
CACHE_WRITE: Final[tuple[Path, ...]] = (
    *((details, "cache_write_tokens") for details in DETAILS),
    *((details, "cache_creation_tokens") for details in DETAILS),
    *((details, "cache_creation_input_tokens") for details in DETAILS),
    ("cache_creation_input_tokens",),
    ("cache_write_tokens",),
)
CACHE_OUTSIDE: Final[tuple[Path, ...]] = (("cache_read_input_tokens",), ("cache_creation_input_tokens",))
REASONING: Final[tuple[Path, ...]] = (
    ("completion_tokens_details", "reasoning_tokens"),
    ("output_tokens_details", "reasoning_tokens"),
    ("reasoning_tokens",),
)
STATED_COST: Final[tuple[tuple[Path, Decimal], ...]] = (
    (("cost",), Decimal(10**9)),
    (("cost", "total_cost"), Decimal(10**9)),
    (("cost_in_usd_ticks",), Decimal("0.1")),
    (("total_cost",), Decimal(10**9)),
    (("estimated_cost",), Decimal(10**9)),
)
"""Where a cost stands, and how many billionths of a dollar one of it is."""
STATED_COST_NANO_USD_MAX: Final = 10**15


def read_usage(value: object) -> Usage | None:
    """What a usage object says; None where it says nothing that can be used."""
    if not isinstance(value, dict):
        return None
    prompt, completion, total = (first_count(value, paths) for paths in (PROMPT, COMPLETION, TOTAL))
    if prompt is None and None not in (completion, total):
        prompt = max(0, (total or 0) - (completion or 0))
    if prompt is None or (completion is None and total is None):
        return None
    read, written = first_count(value, CACHE_READ) or 0, first_count(value, CACHE_WRITE) or 0
    reasoning = first_count(value, REASONING) or 0
    completion = completion or 0
    cache = (read, written)
    outside = cache_outside(prompt, completion, total, cache, reasoning=reasoning, must=is_cache_outside(value))
    prompt += outside
    output = max(completion, (total or 0) - prompt)
    if not prompt and not output:
        return None
    return Usage(
        input_tokens=prompt,
        output_tokens=output,
        cached_tokens=min(read, prompt),
        reasoning_tokens=min(reasoning, output),
        cache_write_tokens=min(written, prompt - min(read, prompt)),
        stated_cost_nano_usd=stated_cost(value),
    )


def stated_cost(usage: dict[str, object]) -> int | None:
    for path, unit_nano_usd in STATED_COST:
        cost = number_in(at(usage, path))
        if cost is not None:
            nano_usd = int((Decimal(repr(cost)) * unit_nano_usd).to_integral_value(ROUND_HALF_EVEN))
            return nano_usd if nano_usd <= STATED_COST_NANO_USD_MAX else None
    return None


def is_cache_outside(usage: dict[str, object]) -> bool:
    """Whether these are Anthropic's own names, which count what comes from a cache beside the input."""
    return first_count(usage, PROMPT[:1]) is None and first_count(usage, CACHE_OUTSIDE) is not None


def cache_outside(
    prompt: int, completion: int, total: int | None, cache: tuple[int, int], *, reasoning: int, must: bool
) -> int:
    """How many tokens of a cache (read, written) are not among the prompt's. `must`: all of them, by their names."""
    read, written = cache
    beside = read + written if must or read + written > prompt else 0
    if total is None or total <= prompt + completion:
        return beside
    rest = total - prompt - completion
    if reasoning > completion and rest == reasoning:
        return 0
    exact = (part for part in (read + written, read, written) if part and rest in (part, part + reasoning))
    return next(exact, beside if beside <= rest else 0)


def first_count(usage: dict[str, object], paths: tuple[Path, ...]) -> int | None:
    """The first place that says more than zero, else zero where one says so."""
    found = [count for path in paths if (count := count_in(at(usage, path))) is not None]
    return next((count for count in found if count), 0 if found else None)


def at(value: object, path: Path) -> object:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value
