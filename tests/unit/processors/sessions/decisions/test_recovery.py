"""What a new owner does about a turn that was left open: the table, row by row."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from processors.sessions.decisions.recovery import (
    HOLD_S,
    HOLD_S_MAX,
    LEASE_US,
    SLACK_US,
    WRITING_US,
    Close,
    Expire,
    Follow,
    GiveUp,
    Recovery,
    Resume,
    Stop,
    decide_recovery,
    hold_of,
    is_suspect,
    may_be_written,
    newer_entry,
    runs_max,
    still_leased,
)
from schemas.journal import ENDED_KEPT_S, JournalEntry
from schemas.session_events import TurnEnded, TurnQueued, TurnStarted
from schemas.turn_fold import FoldedTurn, SessionFold

__all__: list[str] = []

NOW_US = 1_750_000_000_000_000
HELD_US = LEASE_US + SLACK_US
ENTRY = JournalEntry(turn="t", user="u", session="s", prompt_id="p", phase="queued", accepted_at_us=NOW_US)
RUNNING = msgspec.structs.replace(ENTRY, phase="running", attempt=1, run="r1")


def changed(entry: JournalEntry, **changes: Any) -> JournalEntry:
    return msgspec.structs.replace(entry, **changes)


def folded(*, attempts: int = 0, ended: bool = False) -> FoldedTurn:
    fold = SessionFold()
    fold.apply(TurnQueued(turn="t", prompt_id="p"), 0)
    for attempt in range(1, attempts + 1):
        fold.apply(TurnStarted(turn="t", attempt=attempt, run=f"r{attempt}"), attempt)
    if ended:
        run = f"r{attempts}" if attempts else ""
        fold.apply(TurnEnded(turn="t", attempt=attempts, run=run, reason="complete"), 10)
    return fold.turns["t"]


@pytest.mark.parametrize(
    ("entry", "turn", "decision"),
    [
        (ENTRY, folded(ended=True), Close()),
        (changed(RUNNING, cancel_requested=True), folded(attempts=1, ended=True), Close()),
        (changed(RUNNING, cancel_requested=True), folded(attempts=1), Stop()),
        (changed(ENTRY, cancel_requested=True), None, Resume(queued=False, crashes=0, cause="first")),
        (ENTRY, None, Resume(queued=False, crashes=0, cause="first")),
        (ENTRY, folded(), Resume(queued=True, crashes=0, cause="first")),
        (ENTRY, folded(attempts=1), Resume(queued=True, crashes=0, cause="handover")),
        (RUNNING, None, Resume(queued=False, crashes=1, cause="crash")),
        (RUNNING, folded(), Resume(queued=True, crashes=1, cause="crash")),
        (RUNNING, folded(attempts=1), Resume(queued=True, crashes=1, cause="crash")),
        (changed(RUNNING, crashes=1), folded(attempts=2), Resume(queued=True, crashes=2, cause="crash")),
        (changed(RUNNING, crashes=2, alone=True), folded(attempts=3), GiveUp(3)),
        (changed(RUNNING, crashes=2, alone=True), None, GiveUp(3)),
        (changed(RUNNING, crashes=2), folded(attempts=3), Resume(queued=True, crashes=3, cause="crash")),
        (changed(RUNNING, crashes=7), folded(attempts=8), Resume(queued=True, crashes=8, cause="crash")),
        (changed(RUNNING, crashes=1, alone=True), folded(attempts=2), Resume(queued=True, crashes=2, cause="crash")),
        (changed(ENTRY, crashes=4, alone=True), folded(attempts=4), Resume(queued=True, crashes=4, cause="handover")),
        (changed(ENTRY, crashes=2), folded(attempts=2), Resume(queued=True, crashes=2, cause="handover")),
    ],
)
def test_open_turn(entry: JournalEntry, turn: FoldedTurn | None, decision: Recovery) -> None:
    """The log wins over the journal; only a running turn counts a crash; three are enough if the last was its own."""
    assert decide_recovery(entry, turn, attempts_max=3, now_us=NOW_US + 1) == decision


@pytest.mark.parametrize(("entry", "turn"), [(RUNNING, folded(attempts=1)), (RUNNING, None)])
def test_turn_leased_to_its_old_worker(entry: JournalEntry, turn: FoldedTurn | None) -> None:
    """It is left alone, whether or not the log shows it; one that does not run is nobody's."""
    assert decide_recovery(entry, turn, attempts_max=3, now_us=NOW_US, leased=True) == Follow()
    assert isinstance(decide_recovery(ENTRY, turn, attempts_max=3, now_us=NOW_US, leased=True), Resume)


@pytest.mark.parametrize(
    ("leased_us", "newest_us", "leased"),
    [
        (1 - HELD_US, 0, True),
        (-HELD_US, 0, False),
        (-HELD_US, 1 - HELD_US, True),
        (1 - HELD_US, -2 * HELD_US, True),
        (-2 * HELD_US, -HELD_US, False),
        (SLACK_US, SLACK_US, True),
    ],
)
def test_end_of_a_lease(leased_us: int, newest_us: int, *, leased: bool) -> None:
    """The lease is over, and no record has come for as long, with a second for brokers that differ."""
    newest_at_us = NOW_US + newest_us if newest_us else 0

    assert still_leased(NOW_US + leased_us, newest_at_us, now_us=NOW_US) is leased


def test_turn_that_nobody_has_leased() -> None:
    """Records that come prolong no lease where there is none; whether somebody writes on shows within a moment."""
    assert not still_leased(0, NOW_US, now_us=NOW_US)
    assert may_be_written(NOW_US + 1 - WRITING_US - SLACK_US, now_us=NOW_US)
    assert not may_be_written(NOW_US - WRITING_US - SLACK_US, now_us=NOW_US)


def test_leftover_of_a_turn_forgotten_long_ago() -> None:
    """Too old to be known and on no log: it expires instead of being answered, perhaps for the second time."""
    old = changed(RUNNING, accepted_at_us=NOW_US - (ENDED_KEPT_S + 1) * 1_000_000)

    assert decide_recovery(old, None, attempts_max=3, now_us=NOW_US) == Expire()
    assert isinstance(decide_recovery(old, folded(attempts=1), attempts_max=3, now_us=NOW_US), Resume)


@pytest.mark.parametrize(
    ("known", "read", "read_wins"),
    [
        (None, ENTRY, True),
        (ENTRY, RUNNING, True),
        (RUNNING, changed(RUNNING, attempt=2), True),
        (changed(RUNNING, attempt=2), RUNNING, False),
        (RUNNING, changed(RUNNING, cancel_requested=True), True),
        (RUNNING, changed(RUNNING, phase="queued"), True),
        (changed(RUNNING, attempt=2), changed(RUNNING, phase="queued"), False),
        (changed(RUNNING, phase="ended"), changed(RUNNING, attempt=9), False),
        (changed(RUNNING, phase="ended"), changed(RUNNING, phase="queued"), False),
        (changed(ENTRY, phase="cancelled_early"), ENTRY, True),
    ],
)
def test_two_entries_of_a_turn(known: JournalEntry | None, read: JournalEntry, *, read_wins: bool) -> None:
    """The one that knows more wins: a later phase, a higher attempt, or a turn handed back."""
    assert newer_entry(known, read) is (read if read_wins else known)


@pytest.mark.parametrize(
    ("attempts_max", "suspect_after", "runs"), [(1, 1, 9), (2, 1, 9), (3, 2, 10), (4, 2, 10), (10, 2, 10), (20, 2, 20)]
)
def test_suspects(attempts_max: int, suspect_after: int, runs: int) -> None:
    """From the second crash on, or the first where fewer than three are allowed; even one that is allowed none is run
    again alone."""
    found = [crashes for crashes in range(30) if is_suspect(crashes, attempts_max=attempts_max)]

    assert found == list(range(suspect_after, 30))
    assert runs_max(attempts_max) == runs


def test_time_of_a_suspect() -> None:
    """It doubles with every further crash, up to the longest attempt."""
    times = [hold_of(crashes, attempts_max=3) for crashes in range(2, 12)]

    assert times[:3] == [HOLD_S, 2 * HOLD_S, 4 * HOLD_S]
    assert times[-4:] == [64 * HOLD_S, HOLD_S_MAX, HOLD_S_MAX, HOLD_S_MAX]
    assert hold_of(10_000, attempts_max=1) == HOLD_S_MAX
