from __future__ import annotations

import pytest

from schemas.codec import decode_prompt_command, encode
from schemas.errors import MalformedRecord
from schemas.prompts import PromptCancelled, PromptSubmitted

__all__: list[str] = []


def test_smallest_prompt_that_a_foreign_client_may_publish() -> None:
    """User, session and prompt id are required; everything else has a default."""
    prompt = decode_prompt_command(b'{"type":"prompt.submitted","user":"a","session":"s","prompt_id":"p","input":"Hi"}')

    assert prompt == PromptSubmitted(user="a", session="s", prompt_id="p", input="Hi")


@pytest.mark.parametrize("missing", ["user", "session", "prompt_id"])
def test_missing_field_is_named(missing: str) -> None:
    """The error says which required field is absent."""
    fields = {"user": "a", "session": "s", "prompt_id": "p"}
    del fields[missing]
    body = ",".join(f'"{name}":"{value}"' for name, value in fields.items())
    with pytest.raises(MalformedRecord, match=f"^{missing} is missing; "):
        decode_prompt_command(f'{{"type":"prompt.cancelled",{body}}}'.encode())


def test_defaults_stay_off_the_wire() -> None:
    """A field at its default costs no bytes."""
    cancelled = PromptCancelled(user="a", session="s", prompt_id="p")

    assert encode(cancelled) == b'{"type":"prompt.cancelled","user":"a","session":"s","prompt_id":"p"}'
