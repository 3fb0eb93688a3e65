"""When the worker is told who follows a session."""

from __future__ import annotations

from gateway.hubs.decisions.follower_reports import (
    ADVANCE_RECORDS,
    ADVANCE_S,
    BETWEEN_S,
    FollowerReports,
    Followers,
    ReportWish,
    wish_of,
)
from schemas.prompts import WATCHED_EVERY_S
from schemas.session_events import TurnQueued

LEAVE, PACE = ReportWish(pace=False), ReportWish(pace=True)


def test_first_word_comes_at_once_and_is_repeated() -> None:
    """Then again when it is old, and not before while nothing changes."""
    reports = FollowerReports()

    assert reports.due(Followers(1), LEAVE, 10.0) == Followers(1)
    assert reports.due(Followers(1), LEAVE, 10.0 + WATCHED_EVERY_S - 0.1) is None
    assert reports.due(Followers(1), LEAVE, 10.0 + WATCHED_EVERY_S) == Followers(1)


def test_nobody_there_yet_is_told_a_little_later() -> None:
    """A device may be just coming: then it is the first thing told."""
    empty, late = FollowerReports(), FollowerReports()

    assert empty.due(Followers(0), LEAVE, 5.0) is None
    assert late.due(Followers(0), LEAVE, 5.0) is None
    assert late.due(Followers(1), LEAVE, 5.25) == Followers(1)
    assert empty.due(Followers(0), LEAVE, 5.0 + ADVANCE_S) == Followers(0)


def test_last_device_that_leaves_is_told_at_once() -> None:
    """Other changes keep their distance; that nobody is there is said once, then at the usual pace."""
    reports = FollowerReports()
    reports.due(Followers(2), LEAVE, 0.0)

    assert reports.due(Followers(1), LEAVE, BETWEEN_S / 2) is None
    assert reports.due(Followers(0), LEAVE, BETWEEN_S / 2) == Followers(0)
    assert reports.due(Followers(0), LEAVE, 1.0) is None
    assert reports.due(Followers(1), LEAVE, 1.0) == Followers(1)


def test_readers_progress_is_told_in_steps_where_it_is_wanted() -> None:
    """Many records soon, few of them later, none where only devices matter."""
    reports = FollowerReports()
    reports.due(Followers(1, 100), PACE, 0.0)

    assert reports.due(Followers(1, 100 + ADVANCE_RECORDS), PACE, BETWEEN_S / 2) is None
    assert reports.due(Followers(1, 100 + ADVANCE_RECORDS - 1), PACE, BETWEEN_S) is None
    assert reports.due(Followers(1, 100 + ADVANCE_RECORDS), PACE, BETWEEN_S) is not None
    assert reports.due(Followers(1, 101 + ADVANCE_RECORDS), PACE, BETWEEN_S + ADVANCE_S) is not None
    assert reports.due(Followers(1, 500), LEAVE, BETWEEN_S + 2 * ADVANCE_S) is None


def test_farewell_is_said_once() -> None:
    """And not at all where nobody was there or nothing was ever said."""
    silent, empty, full = FollowerReports(), FollowerReports(), FollowerReports()
    empty.due(Followers(1), LEAVE, 0.0)
    empty.due(Followers(0), LEAVE, 1.0)
    full.due(Followers(3, 7), PACE, 0.0)

    assert silent.farewell() is None
    assert empty.farewell() is None
    assert full.farewell() == Followers(0)
    assert full.farewell() is None


def test_what_open_turns_want_to_hear() -> None:
    """Nothing, unless one is to be cancelled or paced by its readers."""
    plain = TurnQueued(turn="t1", prompt_id="p1")
    leaves = TurnQueued(turn="t2", prompt_id="p2", on_leave="cancel")
    paced = TurnQueued(turn="t3", prompt_id="p3", pace="reader")

    assert wish_of([]) is None
    assert wish_of([plain]) is None
    assert wish_of([plain, leaves]) == LEAVE
    assert wish_of([leaves, paced]) == PACE
