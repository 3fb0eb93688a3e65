"""A turn's life: what its table promises, whatever happens in whatever order.

Covers: processors.sessions.decisions.turn_life.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.sessions.decisions.turn_life import (
    SETS,
    TRANSITIONS,
    WRITES,
    IllegalEvent,
    TurnEvent,
    TurnLife,
    TurnState,
    after,
)
from schemas.journal import JournalEntry
from schemas.ledger import RunAccount

__all__: list[str] = []

FIELDS = JournalEntry.__struct_fields__
ENTRY = JournalEntry(turn="t", user="u", session="s", prompt_id="p", phase="queued", updated_at_us=0)
SAMPLES: dict[str, st.SearchStrategy[Any]] = {
    "attempt": st.integers(1, 9),
    "run": st.text("abcdef", min_size=1, max_size=4),
    "first_offset": st.integers(0, 99),
    "updated_at_us": st.integers(0, 10**9),
    "failures": st.integers(0, 3),
    "stop": st.sampled_from(["cancelled", "left", "superseded", "rolled_back", "lost_comparison"]),
    "lease_until_us": st.integers(0, 10**9),
    "alone": st.booleans(),
    "crashes": st.integers(0, 3),
    "try_offset": st.integers(0, 99),
    "counted_at_us": st.integers(0, 10**9),
    "runs": st.just((RunAccount(turn="t", run="r", session="s", at_us=1),)),
}


@st.composite
def lives(draw: st.DrawFn) -> list[TurnLife]:
    """A life from its beginning, each step an event that may happen there."""
    steps = [TurnLife(ENTRY)]
    for _ in range(draw(st.integers(0, 30))):
        events = [event for state, event in TRANSITIONS if state is steps[-1].state]
        event = draw(st.sampled_from(events))
        fields = sorted(WRITES.get(event, ()))
        chosen = draw(st.lists(st.sampled_from(fields), unique=True)) if fields else []
        written: dict[str, Any] = {name: draw(SAMPLES[name]) for name in chosen}
        steps.append(after(steps[-1], event, **written))
    return steps


@given(lives())
def test_an_ending_is_never_taken_back(steps: list[TurnLife]) -> None:
    """Who is over stays over, gives its place back once, and its entry tells nothing new but where it begins and
    what it used."""
    for life, following in pairwise(steps):
        if life.over:
            assert following.over
            assert following.placed <= life.placed
            changed = {name for name in FIELDS if getattr(life.entry, name) != getattr(following.entry, name)}
            assert changed <= {"first_offset", "failures", "alone", "counted_at_us", "runs"}


@given(lives())
def test_who_is_at_work_is_known(steps: list[TurnLife]) -> None:
    """Whoever has a place is claimed, and a stop is never forgotten."""
    for life, following in pairwise(steps):
        assert life.claimed or not (life.placed or life.over)
        assert following.entry.cancel_requested >= life.entry.cancel_requested


@given(lives(), st.sampled_from(TurnEvent))
def test_what_is_not_in_the_table_changes_nothing(steps: list[TurnLife], event: TurnEvent) -> None:
    """An absent pair raises; so does a field that the event does not write."""
    life = steps[-1]
    if (life.state, event) not in TRANSITIONS:
        with pytest.raises(IllegalEvent, match=event.value):
            after(life, event)
    for name in SAMPLES.keys() - WRITES.get(event, frozenset()):
        with pytest.raises(IllegalEvent):
            after(life, event, **dict[str, Any]({name: 1}))


def test_table_is_whole() -> None:
    """Every state can be reached, every event can happen, and every field that is written is one of the journal's."""
    reached = {TurnState.NEW}
    for _ in TurnState:
        reached |= {following for (state, _), following in TRANSITIONS.items() if state in reached}

    assert reached == set(TurnState)
    assert {event for _, event in TRANSITIONS} == set(TurnEvent)
    written = {name for fields in (*WRITES.values(), *SETS.values()) for name in fields}
    assert written <= set(JournalEntry.__struct_fields__)
