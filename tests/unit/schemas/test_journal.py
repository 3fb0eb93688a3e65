from __future__ import annotations

import pytest

from schemas.codec import decode_journal_entry
from schemas.errors import MalformedRecord
from schemas.journal import ENDED_KEPT_S, JournalEntry

__all__: list[str] = []


def test_offsets_are_unknown_until_set() -> None:
    """0 is a real offset, so unknown is -1; nothing has started and nothing crashed."""
    entry = JournalEntry(turn="t", user="a", session="s", prompt_id="p", phase="queued")

    assert (entry.first_offset, entry.last_offset, entry.attempt, entry.crashes) == (-1, -1, 0, 0)


def test_unknown_phase_is_refused() -> None:
    """An owner must not guess what its predecessor was doing."""
    with pytest.raises(MalformedRecord, match="phase"):
        decode_journal_entry(b'{"type":"journal","turn":"t","user":"a","session":"s","prompt_id":"p","phase":"paused"}')


def test_ended_turns_are_kept_a_day() -> None:
    """The window in which a prompt id is answered once."""
    assert ENDED_KEPT_S == 24 * 60 * 60
