"""The friendly face: plain arguments become a prompt."""

from __future__ import annotations

from typing import Any

import pytest

from producers.sdk import Messages, prompt_of
from schemas.errors import InvalidField
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
