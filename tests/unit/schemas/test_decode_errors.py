"""What the sender of a wrong record is told."""

from __future__ import annotations

import json

import msgspec
import pytest

from schemas import codec
from schemas.errors import MalformedRecord
from schemas.prompts import PromptSubmitted

GOOD = {"type": "prompt.submitted", "user": "a", "session": "s", "prompt_id": "p", "input": "Hi"}


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        (
            {"on_busy": "bogus"},
            "on_busy",
            "is not one of its choices; say enqueue, interrupt, parallel, reject, rollback",
        ),
        (
            {"messages": [{"role": "bot", "content": "x"}]},
            "messages[0].role",
            "is not one of its choices; say assistant, system, user",
        ),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "is missing; say what it is"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content", "is a list; send text"),
        ({"messages": "x"}, "messages", "is text; send a list or null"),
        ({"max_tokens": "many"}, "max_tokens", "is text; send a whole number or null"),
        ({"temperature": []}, "temperature", "is a list; send a number or null"),
        ({"metadata": {"a": 1}}, "metadata[...]", "is a whole number; send text"),
        ({"user": None}, "user", "is null; send text"),
        (
            {"type": "prompt.sent"},
            "type",
            "is not one that this version knows; "
            "say prompt.submitted, prompt.cancelled, session.watched, session.expired",
        ),
    ],
)
def test_field_and_remedy(changes: dict[str, object], field: str, words: str) -> None:
    """Each names the field, what it is, and what it has to be."""
    with pytest.raises(MalformedRecord) as caught:
        codec.decode_prompt_command(json.dumps(GOOD | changes).encode())

    assert (caught.value.field, str(caught.value)) == (field, f"{field} {words}")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"[]", "is a list; send an object"),
        (b"null", "is null; send an object"),
        (b"{", "is not valid JSON in UTF-8"),
        (b"{}", "type is missing; say what it is"),
    ],
)
def test_whole_records(raw: bytes, words: str) -> None:
    """Where it is no field, the words go after the name of the whole."""
    with pytest.raises(MalformedRecord) as caught:
        codec.decode_prompt_command(raw)

    assert str(caught.value) == words


def every_choice(struct: type[msgspec.Struct]) -> list[str]:
    """Fields of a struct that take one of a few texts."""
    info = msgspec.inspect.type_info(struct)
    assert isinstance(info, msgspec.inspect.StructType)
    return [field.name for field in info.fields if isinstance(field.type, msgspec.inspect.LiteralType)]


@pytest.mark.parametrize("name", every_choice(PromptSubmitted))
def test_choices_are_named_for_each_field(name: str) -> None:
    """Of a record among records of several types, and of a message of a client."""
    with pytest.raises(MalformedRecord, match=f"^{name} is not one of its choices; say "):
        codec.decode_prompt_command(json.dumps(GOOD | {name: "canary"}).encode())
    with pytest.raises(MalformedRecord, match=f"^{name} is not one of its choices; say "):
        codec.decode_client_messages(json.dumps(GOOD | {"type": "prompt", name: "canary"}))
