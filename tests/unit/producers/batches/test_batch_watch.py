"""A line of a watched batch that is refused for now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from infra.settings import load_settings
from producers.answers.answer_reader import AnswerReader
from producers.answers.followed_answer import AnswerEnded, AnswerPiece, AnswerQueued
from producers.batches.batch_ledger import BatchHeader, BatchLedger, BatchPlace, LedgerView
from producers.batches.batch_watch import UNSEEN_S, BatchWatch, WatchedLine, note
from schemas.prompts import PromptSubmitted
from schemas.session_events import TurnError
from tests.fakes.virtual_loop import VirtualLoop, run_virtual

PROMPT = PromptSubmitted(user="u", session="s", prompt_id="p", input="Hi")
REFUSED = AnswerEnded("t", "rejected", error=TurnError(code="session_busy", message="m", temporary=True), for_now=True)


class ToldReader:
    """An `AnswerReader` that tells these pieces, and nothing after them."""

    def __init__(self, *pieces: AnswerPiece) -> None:
        self.pieces = pieces

    async def locate(self, *_: object, **__: object) -> None:
        """Anywhere."""

    async def follow(self, *_: object, **__: object) -> AsyncIterator[AnswerPiece]:
        """The pieces; then it waits, as for a prompt whose sender may send it again."""
        for piece in self.pieces:
            yield piece
        if not isinstance(self.pieces[-1], AnswerEnded) or self.pieces[-1].for_now:
            await asyncio.sleep(1e6)


def watched(tmp_path: Path, *pieces: AnswerPiece) -> tuple[WatchedLine, float]:
    """The line once it was followed as far as can be, and the seconds that took. Its sender has gone."""
    header = BatchHeader(name="nightly", file="/x/p.jsonl", results="/x/r.jsonl", lines=1, at_us=1)
    place = BatchPlace.of(tmp_path, "nightly")
    with BatchLedger(place, header) as ledger:
        ledger.begin(1, PROMPT)
        ledger.acknowledge(1, PROMPT)
    watch = BatchWatch(LedgerView(place))
    watch.look()
    (line,) = watch.open_lines
    loop = VirtualLoop()

    async def follow() -> None:
        await watch._follow(line, cast(AnswerReader, ToldReader(*pieces)), load_settings({}, home=tmp_path))

    run_virtual(loop, follow())
    return line, loop.time()


def test_line_that_is_refused_and_answered() -> None:
    """It is as if it had just been sent; what was told of the refusal is no end."""
    line = WatchedLine(cast(Any, None))
    states = []
    for piece in (AnswerQueued(3), REFUSED, AnswerQueued(1), AnswerEnded("t", "complete")):
        note(line, piece)
        states.append((line.state, line.position, line.refused, line.reason))

    assert states == [
        ("waiting", 3, False, ""),
        ("sent", 0, True, ""),
        ("waiting", 1, False, ""),
        ("waiting", 1, False, "complete"),
    ]


@pytest.mark.parametrize(
    ("pieces", "reason", "patient"),
    [((REFUSED,), "rejected", True), ((REFUSED, AnswerEnded("t", "complete")), "complete", False)],
)
def test_sender_that_has_gone(tmp_path: Path, pieces: tuple[AnswerPiece, ...], reason: str, *, patient: bool) -> None:
    """Nobody sends the line again: it has ended, after a while; one that is answered has ended at once."""
    line, took_s = watched(tmp_path, *pieces)

    assert (line.state, line.reason, took_s >= UNSEEN_S) == ("ended", reason, patient)
