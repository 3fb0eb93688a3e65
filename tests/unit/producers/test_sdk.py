"""The friendly face: plain arguments become a prompt.

Covers: producers.prompt_options, schemas.plain_values.
"""

from __future__ import annotations

from typing import Any

import pytest

from producers.sdk import BlockingProducer, Messages, prompt_of
from schemas.errors import InvalidField
from schemas.prompt_limits import PromptLimits, check_prompt
from schemas.prompts import ChatMessage


def test_ids_left_out_are_drawn_anew_each_time() -> None:
    """Two prompts without ids are two prompts in two sessions."""
    first, second = prompt_of("Hi", user="alice"), prompt_of("Hi", user="alice")

    assert first.prompt_id != second.prompt_id
    assert first.session != second.session


def test_conversation_may_be_plain_dictionaries() -> None:
    """As the openai package takes it, or as our own structs."""
    own = ChatMessage(role="user", content="Hi")
    prompt = prompt_of("", user="alice", messages=[{"role": "system", "content": "Be brief."}, own])

    assert prompt.messages == (ChatMessage(role="system", content="Be brief."), own)


@pytest.mark.parametrize("messages", [[{"role": "tool", "content": "x"}], [{"content": "x"}], ["Hi"], [object()]])
def test_conversation_of_another_shape_is_named(messages: Any) -> None:
    """The field is named and its shape told."""
    wrong: Messages = messages
    with pytest.raises(InvalidField, match="messages"):
        prompt_of("", user="alice", messages=wrong)


def test_every_option_reaches_the_prompt() -> None:
    """What can be said of a prompt on the log can be said in Python."""
    prompt = prompt_of(
        "Hi",
        user="alice",
        models=["a", "b"],
        compare="merge",
        merge_model="c",
        temperature=0.0,
        on_busy="parallel",
        on_leave="cancel",
        pace="reader",
        priority="batch",
        cache=True,
    )

    assert (prompt.models, prompt.compare, prompt.merge_model) == (("a", "b"), "merge", "c")
    assert (prompt.on_busy, prompt.on_leave, prompt.pace, prompt.priority) == ("parallel", "cancel", "reader", "batch")
    assert (prompt.temperature, prompt.cache) == (0.0, True)


@pytest.mark.parametrize("field", ["compare", "on_busy", "on_leave", "pace", "priority", "models"])
def test_misspelt_choice_is_named_before_anything_is_sent(field: str) -> None:
    """Callers need no type checker to hear of it."""
    wrong: Any = {field: "paralell"}
    with pytest.raises(InvalidField, match=field):
        prompt_of("Hi", user="alice", **wrong)


BAD_OPTIONS: list[tuple[str, Any]] = [
    ("foo", 1),
    ("submitted_at_us", 1),
    ("session", 5),
    ("prompt_id", ["p"]),
    ("messages", "Hi"),
    ("messages", [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]),
    ("model", 3),
    ("models", [1, 2]),
    ("max_tokens", "9"),
    ("max_tokens", True),
    ("temperature", "hot"),
    ("cache", "yes"),
    ("metadata", {"a": 1}),
    ("metadata", ["a"]),
]


@pytest.mark.parametrize(("field", "value"), BAD_OPTIONS)
def test_option_of_another_name_or_type_is_named(field: str, value: Any) -> None:
    """At once, and without repeating the value."""
    with pytest.raises(InvalidField) as refused:
        prompt_of("" if field == "messages" else "Hi", user="alice", **{field: value})

    assert refused.value.field == field
    assert not refused.value.problem.endswith(repr(value))


def test_text_and_user_of_another_type_are_named() -> None:
    """Positional ones as well."""
    wrong: Any = ["Hi"]
    with pytest.raises(InvalidField, match="input"):
        prompt_of(wrong, user="alice")
    with pytest.raises(InvalidField, match="user"):
        prompt_of("Hi", user=wrong)


class Text(str):
    """A text of its own kind, as NumPy, enums and templates have them."""

    __slots__ = ()

    def __str__(self) -> str:
        return "something else"


def test_texts_of_other_kinds_are_texts() -> None:
    """In every place, also within a conversation and as keys."""
    own = ChatMessage("user", Text("Hi"))
    options: dict[str, Any] = {"model": Text("m"), "metadata": {Text("a"): Text("b")}, "on_busy": Text("reject")}
    prompt = prompt_of(
        "", user="alice", messages=[{Text("role"): Text("system"), "content": Text("!")}, own], **options
    )
    check_prompt(prompt, PromptLimits())

    assert prompt.messages == (ChatMessage("system", "!"), ChatMessage("user", "Hi"))
    assert (prompt.model, prompt.metadata, prompt.on_busy) == ("m", {"a": "b"}, "reject")


def test_none_says_the_same_as_nothing() -> None:
    """As options that are passed through often have it."""
    prompt = prompt_of("Hi", user="alice", session=None, metadata=None, max_tokens=None, messages=None)

    assert (prompt.metadata, prompt.max_tokens, prompt.messages) == ({}, None, None)


def test_submit_refuses_before_it_needs_a_broker() -> None:
    """Both producers, with a field that does not exist and with half a surrogate pair."""
    producer = BlockingProducer(kafka="127.0.0.1:1")
    unknown: Any = {"foo": 1}
    with pytest.raises(InvalidField, match="foo"):
        producer.submit("Hi", user="alice", **unknown)
    with pytest.raises(InvalidField, match="input"):
        producer.submit("\ud83d", user="alice")
