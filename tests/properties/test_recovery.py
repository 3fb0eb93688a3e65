"""Recovery of any entry against any log, and journals to which frozen workers still write."""

from __future__ import annotations

from functools import reduce

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from processors.decisions.recovery import Close, GiveUp, Resume, Watch, decide_recovery, newer_entry
from schemas.journal import JournalEntry
from schemas.session_events import SessionEvent, TurnEnded, TurnQueued, TurnStarted
from schemas.turn_fold import FoldedTurn, SessionFold

__all__: list[str] = []

NOW_US = 1_750_000_000_000_000

ENTRIES = st.builds(
    JournalEntry,
    turn=st.just("t"),
    user=st.just("u"),
    session=st.just("s"),
    prompt_id=st.just("p"),
    phase=st.sampled_from(["queued", "running"]),
    accepted_at_us=st.just(NOW_US),
    cancel_requested=st.booleans(),
    attempt=st.integers(0, 3),
    crashes=st.integers(0, 4),
    lease_until_us=st.sampled_from([0, NOW_US - 1, NOW_US + 1]),
)


@st.composite
def turns(draw: st.DrawFn) -> FoldedTurn | None:
    if not draw(st.booleans()):
        return None
    attempts = draw(st.integers(0, 3))
    events: list[SessionEvent] = [TurnQueued(turn="t", prompt_id="p")]
    events += [TurnStarted(turn="t", attempt=attempt, run=f"r{attempt}") for attempt in range(1, attempts + 1)]
    if draw(st.booleans()):
        events.append(TurnEnded(turn="t", attempt=attempts, run=f"r{attempts}" if attempts else "", reason="complete"))
    fold = SessionFold()
    for offset, event in enumerate(events):
        fold.apply(event, offset)
    return fold.turns["t"]


@given(ENTRIES, turns(), st.integers(1, 3))
def test_every_open_turn_is_dealt_with(entry: JournalEntry, turn: FoldedTurn | None, attempts_max: int) -> None:
    """Ended on the log and nothing else is closed; crashes never fall, rise by one at most, and end in giving up."""
    decision = decide_recovery(entry, turn, attempts_max=attempts_max, now_us=NOW_US)

    assert isinstance(decision, Close) == (turn is not None and turn.ended is not None)
    match decision:
        case Resume(queued, crashes, _):
            assert queued == (turn is not None)
            assert entry.crashes <= crashes <= entry.crashes + 1
            assert crashes < attempts_max
        case GiveUp(crashes):
            assert crashes >= attempts_max
        case Watch():
            assert entry.lease_until_us > NOW_US
        case _:
            pass


@given(st.data(), st.integers(1, 4), st.booleans())
def test_late_entries_of_frozen_workers(data: st.DataObject, attempts: int, ended: bool) -> None:
    """Whatever older entries are written again later, the newest state of the turn is what is read."""
    queued = JournalEntry(turn="t", user="u", session="s", prompt_id="p", phase="queued")
    running = [
        msgspec.structs.replace(queued, phase="running", attempt=attempt, run=f"r{attempt}")
        for attempt in range(1, attempts + 1)
    ]
    history = [queued, *running]
    if ended:
        history.append(msgspec.structs.replace(history[-1], phase="ended", reason="complete"))
    newest = history[-1]
    journal = list(history)
    for late in data.draw(st.lists(st.sampled_from(history[:-1]), max_size=4)):
        first = history.index(late) + 1
        journal.insert(data.draw(st.integers(journal.index(history[first - 1]) + 1, len(journal))), late)

    read = reduce(newer_entry, journal[1:], journal[0])

    assert (read.phase, read.attempt) == (newest.phase, newest.attempt)
