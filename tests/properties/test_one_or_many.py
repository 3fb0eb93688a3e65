"""An ordered set that is small while it holds one thing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.hubs.session_hub import OneOrMany

__all__: list[str] = []


class Thing:
    """Compared by identity, as readers are."""


THINGS = [Thing() for _ in range(4)]
STEPS = st.lists(st.tuples(st.sampled_from(["add", "discard", "discard while read"]), st.sampled_from(THINGS)))


@given(STEPS)
def test_it_is_an_ordered_set(steps: list[tuple[str, Thing]]) -> None:
    """In the order in which they came; what is read stays as it was when the reading began."""
    ours: OneOrMany[Thing] = OneOrMany()
    theirs: dict[Thing, None] = {}
    for step, thing in steps:
        reading, before = iter(ours), list(theirs)
        if step == "add":
            ours.add(thing)
            theirs[thing] = None
        else:
            ours.discard(thing)
            theirs.pop(thing, None)
        assert list(reading) == before
        assert list(ours) == list(theirs)
        assert (len(ours), bool(ours)) == (len(theirs), bool(theirs))
        assert [thing in ours for thing in THINGS] == [thing in theirs for thing in THINGS]
