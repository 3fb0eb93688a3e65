"""Bytes of every version of every event are read as they were meant.

Covers: schemas.access, schemas.activity, schemas.gateway_messages.
"""

from __future__ import annotations

import typing

import msgspec
import pytest

from schemas import client_messages, gateway_messages, prompts, session_events
from schemas.codec import encode
from tests.unit.schemas.golden_events import FOLDER, GOLDEN, Golden

__all__: list[str] = []

NAMES = [golden.name for golden in GOLDEN]


@pytest.mark.parametrize("golden", GOLDEN, ids=NAMES)
def test_old_bytes_are_read_as_they_were_meant(golden: Golden) -> None:
    """What any version wrote decodes to the expected event today."""
    assert golden.decode(golden.path.read_bytes()) == golden.event


@pytest.mark.parametrize("golden", [golden for golden in GOLDEN if golden.current], ids=lambda golden: golden.name)
def test_today_writes_the_same_bytes(golden: Golden) -> None:
    """The codec's bytes do not drift: other builds and other languages read them."""
    assert encode(golden.event) == golden.path.read_bytes()


def test_every_type_has_its_bytes() -> None:
    """Each member of each union, the journal, the record and the dead letter are among the golden events."""
    unions = (
        prompts.PromptCommand,
        session_events.SessionEvent,
        client_messages.ClientMessage,
        gateway_messages.ServerMessage,
    )
    expected = {member for union in unions for member in typing.get_args(union)}

    assert expected <= {type(golden.event) for golden in GOLDEN}
    assert {path.stem for path in FOLDER.glob("*.json")} == set(NAMES)


@pytest.mark.parametrize("golden", {type(golden.event): golden for golden in GOLDEN}.values(), ids=lambda g: g.name)
def test_newest_golden_events_leave_no_field_at_its_default(golden: Golden) -> None:
    """A field left at its default would not be in the bytes, so nobody would notice if its name changed."""
    only_value = {"on_busy"}  # has a single value yet, which is its default
    for field in msgspec.structs.fields(type(golden.event)):
        if field.name not in only_value:
            assert getattr(golden.event, field.name) != field.default
