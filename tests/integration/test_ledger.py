"""The ledger itself: what does not fit is told, each with its name. No line is needed for that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import pytest

from schemas.gateway_messages import Delta, End, Start
from schemas.session_events import SessionEvent, TokensEmitted, TurnEnded, TurnQueued, TurnStarted
from schemas.turn_fold import SessionFold, Verdict, text_hash
from tests.integration.chat_client import ChatClient
from tests.integration.ledger import Asked, SessionLog, client_problems, log_problems, row_problems

ASKED: Final = Asked(user="alice", session="s1", prompt_id="p1", text="one two")
TURN: Final = ASKED.turn
QUEUED: Final = TurnQueued(turn=TURN, prompt_id="p1")
STARTED: Final = TurnStarted(turn=TURN, attempt=1, run="r")
ENDED: Final = TurnEnded(
    turn=TURN, attempt=1, run="r", reason="complete", text_sha256=text_hash("one two"), cost_nano_usd=5
)
ROW: Final[dict[str, Any]] = {
    "attempt": 1,
    "run": "r",
    "reason": "complete",
    "prompt_id": "p1",
    "text": "one two",
    "chunks": 2,
    "cost_nano_usd": 5,
    "output_tokens": 0,
}


def tokens(seq: int, *chunks: str) -> TokensEmitted:
    return TokensEmitted(turn=TURN, attempt=1, run="r", seq=seq, chunks=chunks)


WHOLE: Final[list[SessionEvent]] = [QUEUED, STARTED, tokens(0, "one "), tokens(1, "two"), ENDED]


def log_of(events: Sequence[SessionEvent]) -> SessionLog:
    log = SessionLog(SessionFold(keep_text=True))
    for offset, event in enumerate(events):
        log.take(event, offset)
    return log


@pytest.mark.parametrize(
    ("events", "verdict"),
    [
        ([], "lost"),
        (WHOLE[:-1], "lost"),
        ([*WHOLE[:2], tokens(1, "two"), ENDED], "lost"),
        ([*WHOLE[:3], tokens(0, "one "), *WHOLE[3:]], "duplicate"),
        ([*WHOLE, ENDED], "duplicate"),
        ([*WHOLE, TurnQueued(turn="another", prompt_id="p2")], "phantom"),
        ([*WHOLE[:3], tokens(1, "three"), ENDED], "divergent"),
    ],
    ids=["nothing", "no_ending", "hole", "chunk_twice", "two_endings", "asked_by_nobody", "other_words"],
)
def test_log_that_does_not_fit(events: list[SessionEvent], verdict: str) -> None:
    """Each fault has its verdict; a whole log has none."""
    problems = log_problems([ASKED], {ASKED.key: log_of(events)}, crashed=False)

    assert any(problem.startswith(verdict) for problem in problems), problems
    assert log_problems([ASKED], {ASKED.key: log_of(WHOLE)}, crashed=False) == []


def test_void_records_are_forgiven_after_a_crash_only() -> None:
    """An earlier run that writes on is void; without a crash there must be none."""
    second = [replace_run(event) for event in (STARTED, tokens(0, "one "), tokens(1, "two"), ENDED)]
    events = [QUEUED, STARTED, tokens(0, "one "), *second, tokens(1, "two")]
    logs = {ASKED.key: log_of(events)}

    assert log_problems([ASKED], logs, crashed=True) == []
    assert log_problems([ASKED], logs, crashed=False) != []
    assert [verdict for verdict, _ in logs[ASKED.key].void] == [Verdict.AFTER_END]


def replace_run(event: Any) -> Any:
    return type(event)(
        **{field: getattr(event, field) for field in event.__struct_fields__} | {"attempt": 2, "run": "q"}
    )


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [ROW, ROW],
        [ROW | {"cost_nano_usd": 6}],
        [ROW | {"text": "one"}],
        [ROW | {"reason": "error"}],
        [ROW | {"run": "q"}],
    ],
    ids=["none", "twice", "other_cost", "other_text", "other_reason", "other_run"],
)
def test_rows_that_do_not_fit(rows: list[dict[str, Any]]) -> None:
    """One row per attempt, with the log's own numbers."""
    turns = log_of(WHOLE).fold.turns

    assert row_problems(turns, {TURN: rows}) != []
    assert row_problems(turns, {TURN: [ROW]}) == []
    assert row_problems({}, {TURN: [ROW]}) != []


@pytest.mark.parametrize("seqs", [(0, 1), (0, 2), (0, 0, 1), (1,), (0,)], ids=str)
async def test_client_notices_holes_and_duplicates(seqs: tuple[int, ...]) -> None:
    """A delta must begin at the next number; an end is last; what was shown is the log's text."""
    client = ChatClient("no token")
    place: dict[str, Any] = {"session": "s1", "turn": TURN, "attempt": 1}
    await client.hear(Start(**place))
    for seq in seqs:
        await client.hear(Delta(**place, seq=seq, n=1, text=("one ", "two", "")[seq]))
    await client.hear(End(**place, reason="complete"))

    problems = client_problems(client, log_of(WHOLE).fold.turns)

    assert (problems == []) == (seqs == (0, 1)), problems


def test_other_words_expected() -> None:
    """The text is compared with the provider's, not only with itself."""
    logs = {ASKED.key: log_of(WHOLE)}

    assert log_problems([replace(ASKED, text="one three")], logs, crashed=False) != []
