"""The text of an answer as a client of a gateway is told it."""

from __future__ import annotations

from schemas.gateway_messages import Delta, End, Snapshot
from tests.integration.gateway_line import (
    WireClient,
)

__all__ = ["OUTAGE_S_MAX", "told_answer"]

OUTAGE_S_MAX = 15.0


async def told_answer(client: WireClient, turn: str, *, from_seq: int = 0) -> str:
    """The text of a turn up to its end, checked to have neither hole nor duplicate."""
    text, next_seq = "", from_seq
    while True:
        message = await client.next()
        if isinstance(message, Delta) and message.turn == turn:
            assert message.seq == next_seq
            next_seq += message.n
            text += message.text
        elif isinstance(message, Snapshot):
            assert next_seq == from_seq, "a picture comes before anything else"
            for told in message.turns:
                assert told.turn == turn
                text += told.text
                next_seq = told.next_seq
        elif isinstance(message, End) and message.turn == turn:
            return text
