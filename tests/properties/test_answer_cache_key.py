"""The key of a remembered answer: the same for the same, and for nothing else."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from processors.attempts.decisions.answer_cache_key import answer_key
from schemas.prompts import ChatMessage, PromptSubmitted

__all__: list[str] = []

WORDS = st.text(st.sampled_from('ab",[]\\\x00é'), max_size=3)
MESSAGES = st.lists(
    st.builds(ChatMessage, role=st.sampled_from(["system", "user", "assistant"]), content=WORDS), max_size=3
)
WHAT_COUNTS = st.fixed_dictionaries(
    {
        "tenant": WORDS,
        "user": WORDS,
        "served": st.tuples(WORDS, WORDS, st.booleans()),
        "messages": MESSAGES.map(tuple),
        "max_tokens": st.integers(1, 3),
        "temperature": st.sampled_from([None, 0.0, 0.5, 1.0]),
    }
)


def key_of(asked: dict[str, Any]) -> bytes:
    prompt = PromptSubmitted(
        user=asked["user"], tenant=asked["tenant"], session="s", prompt_id="p", temperature=asked["temperature"]
    )
    return answer_key(prompt, served=asked["served"], messages=asked["messages"], max_tokens=asked["max_tokens"])


def as_whose(asked: dict[str, Any]) -> dict[str, Any]:
    """What has to be the same: the tenant's users are one, where there is a tenant."""
    return asked | ({"user": ""} if asked["tenant"] else {})


@given(WHAT_COUNTS, WHAT_COUNTS)
def test_two_prompts(one: dict[str, Any], other: dict[str, Any]) -> None:
    """One key means that nothing differs of tenant, model, messages, length and temperature."""
    assert (key_of(one) == key_of(other)) == (as_whose(one) == as_whose(other))


@given(WHAT_COUNTS, st.sampled_from(["tenant", "user", "served", "messages", "max_tokens", "temperature"]), st.data())
def test_any_one_difference(asked: dict[str, Any], field: str, data: st.DataObject) -> None:
    """Whatever alone is changed, the key changes; the user's name only where there is no tenant."""
    changed = asked | {field: data.draw(WHAT_COUNTS)[field]}

    assert (key_of(asked) == key_of(changed)) == (as_whose(asked) == as_whose(changed))
