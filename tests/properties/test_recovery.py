"""Recovery of any entry against any log, and journals to which frozen workers still write."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from processors.sessions.decisions.recovery import (
    HOLD_S,
    HOLD_S_MAX,
    Close,
    Follow,
    GiveUp,
    Resume,
    TakenBack,
    decide_recovery,
    hold_of,
    is_suspect,
    newer_entry,
    runs_max,
)
from schemas.journal import JournalEntry
from schemas.session_events import SessionEvent, TurnEnded, TurnQueued, TurnStarted
from schemas.turn_fold import FoldedTurn, SessionFold

__all__: list[str] = []

NOW_US = 1_750_000_000_000_000
QUEUED = JournalEntry(turn="t", user="u", session="s", prompt_id="p", phase="queued", accepted_at_us=NOW_US)

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
    alone=st.booleans(),
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


@given(ENTRIES, turns(), st.integers(1, 3), st.booleans(), st.booleans())
def test_every_open_turn_is_dealt_with(
    entry: JournalEntry, turn: FoldedTurn | None, attempts_max: int, leased: bool, refused: bool
) -> None:
    """Ended on the log and nothing else is closed, refused and nothing else is taken back; crashes never fall, rise by
    one at most, and end in giving up."""
    decision = decide_recovery(entry, turn, attempts_max=attempts_max, now_us=NOW_US, leased=leased, refused=refused)

    assert isinstance(decision, TakenBack) == (turn is None and refused)
    assert isinstance(decision, Close) == (turn is not None and turn.ended is not None)
    match decision:
        case Resume(queued, crashes, cause):
            assert queued == (turn is not None)
            assert entry.crashes <= crashes <= entry.crashes + 1
            assert crashes < attempts_max or not (entry.alone and cause == "crash")
        case GiveUp(crashes):
            assert crashes >= attempts_max
            assert entry.alone, "only what ran alone is given up"
        case Follow():
            assert leased
        case _:
            pass


@given(st.data(), st.integers(0, 4), st.booleans(), st.integers(1, 3))
def test_late_entries_of_frozen_workers(data: st.DataObject, attempts: int, ended: bool, sendings: int) -> None:
    """Whatever older entries are written again later, the newest state of the turn is what is read."""
    waiting = [
        JournalEntry(turn="t", user="u", session="s", prompt_id="p", phase="queued", try_offset=sending)
        for sending in range(sendings)
    ]
    running = [
        msgspec.structs.replace(waiting[-1], phase="running", attempt=attempt, run=f"r{attempt}")
        for attempt in range(1, attempts + 1)
    ]
    history = [*waiting, *running]
    if ended:
        history.append(msgspec.structs.replace(history[-1], phase="ended", reason="complete"))
    newest = history[-1]
    journal = list(history)
    for late in data.draw(st.lists(st.sampled_from(history[:-1]), max_size=4)) if history[1:] else []:
        first = history.index(late) + 1
        journal.insert(data.draw(st.integers(journal.index(history[first - 1]) + 1, len(journal))), late)

    read = reduce(newer_entry, journal[1:], journal[0])

    assert (read.phase, read.attempt, read.try_offset) == (newest.phase, newest.attempt, newest.try_offset)


@dataclass
class Life:
    """A turn through the lives of its workers, as journal and recovery see it."""

    attempts_max: int
    kills_after_s: float | None
    entry: JournalEntry = QUEUED
    runs: int = 0
    given_up: bool = False

    @property
    def hold_s(self) -> float:
        """How long it may have the worker to itself; 0: it is no suspect."""
        suspect = is_suspect(self.entry.crashes, attempts_max=self.attempts_max)
        return hold_of(self.entry.crashes, attempts_max=self.attempts_max) if suspect else 0.0

    def runs_until(self, death_s: float, others_s: float) -> None:
        """It is begun, and its worker dies so many seconds later; other turns run for so long after it came."""
        hold_s, self.runs = self.hold_s, self.runs + 1
        alone = bool(hold_s) and others_s <= hold_s and death_s <= hold_s
        self.entry = msgspec.structs.replace(self.entry, phase="running", attempt=self.runs, run="r", alone=alone)
        match decide_recovery(self.entry, None, attempts_max=self.attempts_max, now_us=NOW_US):
            case GiveUp():
                self.given_up = True
            case Resume(_, crashes, _):
                self.entry = msgspec.structs.replace(self.entry, phase="queued", crashes=crashes, alone=False)
            case other:
                raise AssertionError(other)


TIMES = st.floats(0, HOLD_S_MAX)


@given(st.data(), st.integers(1, 20), TIMES)
def test_a_prompt_that_always_kills(data: st.DataObject, attempts_max: int, kills_after_s: float) -> None:
    """It is given up after so many runs, whatever else its workers do."""
    killer = Life(attempts_max, kills_after_s)
    while not killer.given_up:
        killer.runs_until(kills_after_s, data.draw(TIMES))

        assert killer.runs <= runs_max(attempts_max)


@given(st.integers(1, 20), st.floats(0, HOLD_S), st.floats(0, HOLD_S))
def test_a_prompt_that_kills_at_once(attempts_max: int, kills_after_s: float, others_s: float) -> None:
    """Where nothing takes long, it is given up after as many runs as are allowed; even if one is, it is run twice."""
    killer = Life(attempts_max, kills_after_s)
    while not killer.given_up:
        killer.runs_until(kills_after_s, others_s)

    assert killer.runs == max(2, attempts_max)


@given(st.data(), st.integers(1, 5))
def test_innocents_among_killers(data: st.DataObject, attempts_max: int) -> None:
    """Workers that die of killers only: whoever kills nobody is never given up, however often it was there."""
    draw = data.draw
    killers = [Life(attempts_max, draw(TIMES)) for _ in range(draw(st.integers(1, 3)))]
    innocents = [Life(attempts_max, None) for _ in range(3)]
    for _ in range(draw(st.integers(1, 20))):
        killer = draw(st.sampled_from([life for life in killers if not life.given_up] or [Life(attempts_max, 0.0)]))
        death_s = killer.kills_after_s or 0.0
        for innocent in innocents:
            # The killer runs beside it: it began before the innocent and goes on until it kills, or it began after
            # the innocent's time was over. Either way no solitude is left by then.
            if draw(st.booleans()):
                innocent.runs_until(death_s, others_s=innocent.hold_s + death_s + 1)
            else:
                innocent.runs_until(innocent.hold_s + death_s + 1, others_s=draw(TIMES))
        killer.runs_until(death_s, draw(TIMES))

    assert not any(innocent.given_up for innocent in innocents)
