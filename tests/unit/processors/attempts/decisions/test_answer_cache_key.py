"""Which prompts may be answered from the cache, and how long."""

from __future__ import annotations

from typing import Any

import pytest

from processors.attempts.decisions.answer_cache_key import answer_key, is_fresh, may_be_cached
from schemas.prompts import ChatMessage, PromptSubmitted

__all__: list[str] = []

MESSAGES = (ChatMessage(role="user", content="hello"),)


def prompt(**fields: Any) -> PromptSubmitted:
    return PromptSubmitted(**{"user": "u", "session": "s", "prompt_id": "p", "tenant": "acme"} | fields)


@pytest.mark.parametrize(
    ("asked", "cache_s", "tenants", "may"),
    [
        (prompt(temperature=0.0), 60.0, {"acme"}, True),
        (prompt(temperature=0), 60.0, {"*"}, True),
        (prompt(cache=True), 60.0, {"acme", "globex"}, True),
        (prompt(cache=True, temperature=1.0), 60.0, {"acme"}, True),
        (prompt(temperature=0.0, tenant=""), 60.0, {"*"}, True),
        (prompt(temperature=0.0, tenant=""), 60.0, {"acme"}, False),
        (prompt(temperature=0.0, tenant=""), 60.0, {""}, False),
        (prompt(temperature=0.0), 60.0, {"globex"}, False),
        (prompt(temperature=0.0), None, {"*"}, False),
        (prompt(), 60.0, {"*"}, False),
        (prompt(temperature=0.1), 60.0, {"*"}, False),
    ],
)
def test_who_opted_in(asked: PromptSubmitted, cache_s: float | None, tenants: set[str], *, may: bool) -> None:
    """The model, the tenant and the prompt all have to say so."""
    assert may_be_cached(asked, cache_s=cache_s, tenants=tenants) is may


def test_prompts_that_mean_the_same() -> None:
    """Whoever of the tenant asks, in whatever session, has the same key; so have 0 and 0.0."""
    one = answer_key(prompt(temperature=0), served=("chat",), messages=MESSAGES, max_tokens=9)
    other = prompt(user="v", session="t", prompt_id="q", temperature=0.0, metadata={"a": "b"}, cache=True)

    assert answer_key(other, served=("chat",), messages=MESSAGES, max_tokens=9) == one


def test_user_without_a_tenant_is_no_tenant() -> None:
    """A user and a tenant of the same name are told apart."""
    lone = answer_key(prompt(user="acme", tenant=""), served=("chat",), messages=MESSAGES, max_tokens=9)

    assert lone != answer_key(prompt(), served=("chat",), messages=MESSAGES, max_tokens=9)
    assert lone != answer_key(prompt(user="v", tenant=""), served=("chat",), messages=MESSAGES, max_tokens=9)


def test_freshness() -> None:
    """The moment the time is over it is asked for again."""
    assert is_fresh(10.0, cache_s=5.0, now_s=14.9)
    assert not is_fresh(10.0, cache_s=5.0, now_s=15.0)
