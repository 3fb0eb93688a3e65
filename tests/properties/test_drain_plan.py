"""Drain plans of any size: everybody once, evenly, within the window."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from gateway.process.decisions.drain_plan import drain_slots


@given(
    flags=st.lists(st.booleans(), max_size=300),
    window_s_max=st.floats(0, 600),
    per_s=st.floats(0.01, 1e6),
)
def test_every_client_has_one_slot_and_no_herd_forms(flags: list[bool], window_s_max: float, per_s: float) -> None:
    """Slots are in order, within the window, no closer than even spacing; streaming clients come last."""
    slots = drain_slots(flags, window_s_max=window_s_max, per_s=per_s)
    times = [slot.at_s for slot in slots]
    window_s = min(window_s_max, len(flags) / per_s)

    assert sorted(slot.index for slot in slots) == list(range(len(flags)))
    assert times == sorted(times)
    assert all(0 <= at_s <= window_s * 1.000001 for at_s in times)
    spacing = window_s / max(1, len(flags))
    assert all(later - earlier >= spacing * 0.999 - 1e-9 for earlier, later in itertools.pairwise(times))
    assert [flags[slot.index] for slot in slots] == sorted(flags)
