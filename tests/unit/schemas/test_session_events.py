from __future__ import annotations

from typing import get_args

import pytest

from schemas.codec import decode_session_event
from schemas.errors import MalformedRecord
from schemas.session_events import END_REASONS, EndReason, TokensEmitted, TurnEnded

__all__: list[str] = []


def test_list_of_reasons_is_the_type() -> None:
    """END_REASONS holds each EndReason once, in order."""
    assert get_args(EndReason) == END_REASONS


def test_unknown_reason_is_refused() -> None:
    """A turn cannot end in a way that no reader knows."""
    with pytest.raises(MalformedRecord, match="reason"):
        decode_session_event(b'{"type":"turn.ended","turn":"t","attempt":0,"run":"","reason":"bored"}')


def test_smallest_records() -> None:
    """What a reader must be given, and nothing more."""
    tokens = decode_session_event(b'{"type":"turn.tokens","turn":"t","attempt":1,"run":"r","seq":0,"chunks":["a"]}')
    ended = decode_session_event(b'{"type":"turn.ended","turn":"t","attempt":0,"run":"","reason":"rejected"}')

    assert tokens == TokensEmitted(turn="t", attempt=1, run="r", seq=0, chunks=("a",))
    assert ended == TurnEnded(turn="t", attempt=0, run="", reason="rejected")
