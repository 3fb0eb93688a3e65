"""When an answer may be given again, and to whom: the key under which it is remembered.

A model's answer is remembered only where its table in `tokenwire.toml` says for how long (`cache_s`) and the tenant is
among those that opted in (`cache_tenants`, `"*"`: every one), and only for prompts that ask for the same answer each
time: temperature 0, or `cache: true`.

The key is a hash of everything that the answer depends on, and of whose it is: the tenant (a user where there is none,
so that nothing crosses users whom nobody grouped), the model as it is served, the messages as they are sent, the most
tokens and the temperature. It is made of one JSON array, so no two different inputs run together; the collision of two
hashes apart, an answer cannot cross tenants. A comparison of texts instead would keep every conversation in memory.

Cost: one pass over the messages of a prompt that may be answered this way, none for any other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence

import msgspec

from schemas.prompts import ChatMessage, PromptSubmitted

__all__ = ["EVERY_TENANT", "answer_key", "is_fresh", "may_be_cached"]

EVERY_TENANT = "*"


def may_be_cached(prompt: PromptSubmitted, *, cache_s: float | None, tenants: Collection[str]) -> bool:
    """Whether the prompt may be answered from the cache, and its answer go into it."""
    if cache_s is None or not (prompt.cache or prompt.temperature == 0):
        return False
    return EVERY_TENANT in tenants or (bool(prompt.tenant) and prompt.tenant in tenants)


def answer_key(
    prompt: PromptSubmitted, *, served: Sequence[str | bool], messages: Sequence[ChatMessage], max_tokens: int
) -> bytes:
    """The key of a prompt's answer. `served`: what names the model and says who may answer for it."""
    whose = ("tenant", prompt.tenant) if prompt.tenant else ("user", prompt.user)
    temperature = None if prompt.temperature is None else float(prompt.temperature)
    said = [(message.role, message.content) for message in messages]
    return hashlib.sha256(msgspec.json.encode((whose, served, said, max_tokens, temperature))).digest()


def is_fresh(kept_s: float, *, cache_s: float, now_s: float) -> bool:
    """Whether an answer that was kept at a moment may still be given; seconds of one monotonic clock."""
    return now_s - kept_s < cache_s
