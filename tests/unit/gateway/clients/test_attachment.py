"""What a picture of some turns is folded from."""

from __future__ import annotations

from gateway.clients.attachment import fold_events
from infra.kafka.log_client import LogRecord
from schemas.codec import encode
from schemas.session_events import PromptRefused, TurnQueued
from schemas.turn_fold import SessionFold


def test_refusal_of_a_turn_that_was_sent_again() -> None:
    """It is folded with the turn: the picture is of the sending that is open."""
    refused = PromptRefused(prompt_id="p", code="c", message="m", turns=("t",), try_offset=5)
    events = [
        TurnQueued(turn="t", prompt_id="p", try_offset=5),
        TurnQueued(turn="u", prompt_id="q", try_offset=6),
        refused,
        TurnQueued(turn="t", prompt_id="p", try_offset=9),
    ]
    records = [LogRecord(offset, 0, None, encode(event)) for offset, event in enumerate(events)]
    records.append(LogRecord(len(events), 0, None, b"{"))
    fold = SessionFold(keep_text=True)
    fold_events(fold, records, frozenset({"t"}))

    assert [(name, turn.first_offset, turn.try_offset) for name, turn in fold.turns.items()] == [("t", 3, 9)]
