from __future__ import annotations

from typing import get_args

import pytest

from schemas.client_messages import Attach, ClientMessage, Hello, Prompt
from schemas.codec import decode_client_messages, encode
from schemas.errors import MalformedRecord
from schemas.gateway_messages import ServerMessage

__all__: list[str] = []


def test_attach_spells_its_cursor_from() -> None:
    """`from` on the wire, `from_` in Python; a new session at its tail where both are left out."""
    assert decode_client_messages('{"type":"attach","session":"s","from":"start"}') == [
        Attach(session="s", from_="start")
    ]
    assert decode_client_messages('{"type":"attach"}') == [Attach(session="", from_="tail")]
    assert encode(Attach(session="s", from_="start")) == b'{"type":"attach","session":"s","from":"start"}'


def test_hello_may_be_empty() -> None:
    """The token may have come in the header."""
    assert decode_client_messages('{"type":"hello"}') == [Hello()]


@pytest.mark.parametrize("missing", ["session", "prompt_id"])
def test_prompt_without_its_handle_is_refused(missing: str) -> None:
    """Without session and prompt id there is nothing to resume or cancel by."""
    fields = {"session": "s", "prompt_id": "p"}
    del fields[missing]
    ((name, value),) = fields.items()
    with pytest.raises(MalformedRecord, match=f"^{missing} is missing; "):
        decode_client_messages(f'{{"type":"prompt","{name}":"{value}","input":"Hi"}}')


def test_client_cannot_say_what_the_server_says() -> None:
    """The two directions share no type."""
    tags = [
        {member.__struct_config__.tag for member in get_args(direction)} for direction in (ClientMessage, ServerMessage)
    ]

    assert not tags[0] & tags[1]
    assert Prompt.__struct_config__.tag in tags[0]
