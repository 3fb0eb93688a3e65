"""The keys of `tokenwire.toml`: in which table each stands, what it may hold, what it means.

One catalogue for three readers: the check of a file, the reference in `docs/reference/models.md`, and whoever wonders.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from schemas.prompt_limits import PromptLimits

__all__ = ["DEADLINE_KEYS", "TABLES", "TOP_LEVEL", "KeyRule", "Kind"]

Kind: TypeAlias = Literal[
    "name",
    "whole",
    "seconds",
    "flag",
    "abilities",
    "targets",
    "chain",
    "preset",
    "url",
    "variable",
    "price",
    "tenants",
    "answer_field",
    "limits",
    "model_names",
    "dollars",
    "unpriced",
    "path",
]

COUNT_MAX: Final = 1_000_000_000
SECONDS_MAX: Final = 86_400
PROMPT_BYTES_MAX: Final = PromptLimits().prompt_bytes_max


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRule:
    """What one key may hold."""

    kind: Kind
    meaning: str
    default: str
    """In words, for the reference."""
    minimum: int = 1
    """Of a whole number."""
    maximum: int = COUNT_MAX
    """Of a number."""


def limit(meaning: str) -> KeyRule:
    return KeyRule(kind="whole", meaning=meaning, default="no limit of ours")


def seconds(meaning: str, setting: str) -> KeyRule:
    return KeyRule(kind="seconds", meaning=meaning, default=f"`{setting}`", maximum=SECONDS_MAX)


DEADLINES: Final[Mapping[str, KeyRule]] = {
    "connect_s": seconds("Deadline for a connection, TLS included.", "TOKENWIRE_CONNECT_S"),
    "first_token_s": KeyRule(
        kind="seconds",
        meaning="Deadline from the request to the first token.",
        default="`TOKENWIRE_FIRST_TOKEN_S` where it is set; else 5 where another target can take the call, 120 where "
        "none can, 120 with the preset `ollama`, 300 for models that are known to reason first",
        maximum=SECONDS_MAX,
    ),
    "between_tokens_s": seconds("Longest silence between two tokens.", "TOKENWIRE_BETWEEN_TOKENS_S"),
    "total_s": seconds("Longest time an attempt may take in all.", "TOKENWIRE_TURN_S"),
}
DEADLINE_KEYS: Final = tuple(DEADLINES)

LIMITS: Final[Mapping[str, KeyRule]] = {
    "requests_per_minute": limit("Requests that may begin in a minute, over all workers."),
    "tokens_per_minute": limit("Input and output tokens in a minute, over all workers."),
    "concurrent_max": limit("Requests under way at once, over all workers."),
    "concurrent_start": KeyRule(
        kind="whole",
        meaning="Requests of one worker under way at once until it has learned how many the target takes.",
        default="1 with the presets `vllm` and `ollama`, else any number until there is evidence",
    ),
    "abilities": KeyRule(
        kind="abilities",
        meaning="What it can do besides text, in place of the preset's: `vision`, `tools`, `json`, and `prefix` where "
        "it continues an assistant message that it is given the beginning of.",
        default="the preset's",
    ),
    "max_tokens_field": KeyRule(
        kind="answer_field",
        meaning="What the request calls the longest answer: `max_tokens` or `max_completion_tokens`. A target that "
        "refuses one of them is asked with the other one from then on.",
        default="`max_completion_tokens` at OpenAI itself, else `max_tokens`",
    ),
    "context_tokens": KeyRule(
        kind="whole",
        minimum=256,
        meaning="Context window; older history is cut to fit.",
        default="the model's where it is known, else the preset's, else `TOKENWIRE_CONTEXT_TOKENS`",
    ),
}

MODEL_KEYS: Final[Mapping[str, KeyRule]] = {
    "targets": KeyRule(
        kind="targets",
        meaning="Who serves it, in order: `provider:model` each. A list inside the list holds equals, of which "
        "whoever has most headroom goes first.",
        default="*this or `chain`*",
    ),
    "chain": KeyRule(kind="chain", meaning="A ready-made list of targets.", default="*this or `targets`*"),
    "substitute": KeyRule(
        kind="flag",
        meaning="Whether another model may answer when the first target's cannot. With `false` only targets of the "
        "same weights are used.",
        default="`true`",
    ),
    "overflow": KeyRule(
        kind="flag",
        meaning="Whether targets of lower rank, and paid ones beside one that costs nothing, take what is more than a "
        "target was seen to answer at once. With `false` it waits.",
        default="`false`",
    ),
    "hedge": KeyRule(
        kind="flag",
        meaning="Whether a second target is asked when the first is slower to begin than usual; both are paid for.",
        default="`false`",
    ),
    "watch_repetition": KeyRule(
        kind="flag", meaning="Whether an answer that goes round in circles is cut.", default="`true`"
    ),
    "watch_gibberish": KeyRule(kind="flag", meaning="Whether an answer that is noise is cut.", default="`true`"),
    "answer_tokens_max": KeyRule(
        kind="whole", meaning="`max_tokens` of a prompt that names none.", default="`TOKENWIRE_ANSWER_TOKENS_MAX`"
    ),
    "cache_s": KeyRule(
        kind="seconds",
        meaning="How long an answer to a prompt of temperature 0, or with `cache: true`, may be given again without a "
        "call. Needs `cache_tenants`.",
        default="never",
        maximum=SECONDS_MAX,
    ),
    "cache_tenants": KeyRule(
        kind="tenants",
        meaning='The tenants whose answers are given again, each to itself only; `"*"`: every tenant, and users '
        "without one, each by itself.",
        default="*with `cache_s`*",
    ),
    **DEADLINES,
}

PROVIDER_KEYS: Final[Mapping[str, KeyRule]] = {
    "preset": KeyRule(
        kind="preset",
        meaning="Whose defaults it has.",
        default="the preset of the table's own name, if there is one",
    ),
    "base_url": KeyRule(
        kind="url",
        meaning="Where its OpenAI-compatible API is, up to and with `/v1`.",
        default="the preset's; required without a preset",
    ),
    "key_env": KeyRule(
        kind="variable",
        meaning="Environment variable that holds its key; empty = it needs none. The key itself never stands here.",
        default="the preset's",
    ),
    **LIMITS,
    **DEADLINES,
}

TARGET_KEYS: Final[Mapping[str, KeyRule]] = {
    "weights": KeyRule(
        kind="name",
        meaning="What the model is called apart from any provider. Targets of the same weights are the same model.",
        default="known for some models, else the provider's name for it in small letters",
    ),
    "price_ref": KeyRule(
        kind="price",
        meaning="Provider and model on the price list, as `groq:llama-3.3-70b-versatile`.",
        default="the target itself with a preset that has prices, else found by base URL and model",
    ),
    **LIMITS,
    **DEADLINES,
}


def allowance(meaning: str, maximum: int = COUNT_MAX) -> KeyRule:
    return KeyRule(kind="whole", meaning=meaning, default="no limit", maximum=maximum)


TIER_KEYS: Final[Mapping[str, KeyRule]] = {
    "requests_per_minute": allowance("Prompts in a minute. A prompt to several models is one."),
    "input_tokens_per_minute": allowance("Input tokens in a minute, history included."),
    "output_tokens_per_minute": allowance("Output tokens in a minute."),
    "bucket_tokens": allowance("Input and output tokens that may be used at once: what a full bucket holds."),
    "bucket_tokens_per_s": KeyRule(
        kind="whole", meaning="Tokens a second by which the bucket fills again.", default="*with `bucket_tokens`*"
    ),
    "tokens_per_day": allowance("Input and output tokens in a day of UTC."),
    "tokens_per_turn": allowance("Input and output tokens of a prompt, with all attempts at answering it."),
    "tokens_per_stream": allowance("Input and output tokens of one attempt."),
    "tokens_per_session": allowance("Input and output tokens of a session, until it has rested for a day."),
    "concurrent_turns": allowance("Prompts that are answered at once. Each model of a comparison counts."),
    "tokens_per_second": allowance("Output tokens a second of one answer: it is slowed down, not refused."),
    "queue_prompts": allowance("Prompts that wait in one session."),
    "prompt_bytes": allowance("UTF-8 bytes of a prompt's input or messages.", PROMPT_BYTES_MAX),
    "usd_per_month": KeyRule(
        kind="dollars", meaning="What all attempts may cost in a month of UTC, in US dollars.", default="no limit"
    ),
    "unpriced": KeyRule(
        kind="unpriced",
        meaning="What becomes of prompts for a model that has no price, where money is limited: `refuse` or `allow`.",
        default="`refuse`",
    ),
    "models": KeyRule(kind="model_names", meaning="The models that may be asked.", default="all"),
    "shadow": KeyRule(
        kind="limits",
        meaning="Limits of this tier that are decided and recorded, and refuse nothing.",
        default="none",
    ),
}

TOP_LEVEL: Final[Mapping[str, KeyRule]] = MappingProxyType(
    {
        "default_model": KeyRule(
            kind="name", meaning="The model of a prompt that names none.", default="the first in the file"
        ),
        "default_tier": KeyRule(
            kind="name",
            meaning="The tier of users of whom neither their token nor the users file says one.",
            default="`open` in a file that says nothing of tiers, else such users are refused",
        ),
        "users": KeyRule(
            kind="path",
            meaning="A file of comma-separated values, `user,tier,tenant`: what each user has, whatever a producer "
            "writes. Seen from this file's folder.",
            default="none",
        ),
    }
)
"""Keys that stand before the first table."""

TABLES: Final[Mapping[str, Mapping[str, KeyRule]]] = MappingProxyType(
    {"models": MODEL_KEYS, "providers": PROVIDER_KEYS, "targets": TARGET_KEYS, "tiers": TIER_KEYS}
)
"""The keys of each kind of table: `[models.NAME]`, `[providers.NAME]`, `[targets."PROVIDER:MODEL"]`, `[tiers.NAME]`."""
