"""Devices come and go and read on, in any way: the worker knows soon, and is not flooded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.hubs.decisions.follower_reports import ADVANCE_S, BETWEEN_S, FollowerReports, Followers, ReportWish
from schemas.prompts import WATCHED_EVERY_S

STEPS = st.lists(
    st.tuples(st.floats(0.01, 2.0), st.integers(0, 3), st.integers(0, 40)),
    min_size=1,
    max_size=40,
)


@given(STEPS, st.booleans())
def test_any_coming_and_going(steps: list[tuple[float, int, int]], pace: bool) -> None:
    """See the module: distance, age, the last leave at once, and all of it true a moment after the last change."""
    reports, wish = FollowerReports(), ReportWish(pace)
    now_s, read_offset, told_at_s = 0.0, 0, -1.0
    for wait_s, devices, records in steps:
        now_s, read_offset = now_s + wait_s, read_offset + records
        before = reports.told
        word = reports.due(Followers(devices, read_offset), wish, now_s)
        if word is None:
            assert not devices or (before is not None and now_s - told_at_s < WATCHED_EVERY_S)
            assert devices or before is None or not before.devices
        else:
            assert word == Followers(devices, read_offset)
            assert before is None or now_s - told_at_s >= BETWEEN_S or (not devices and before.devices)
            told_at_s = now_s
    later = Followers(steps[-1][1], read_offset)
    reports.due(later, wish, now_s + ADVANCE_S + 0.01)

    assert reports.told is not None
    assert reports.told.devices == later.devices
    assert reports.told.read_offset == later.read_offset or not pace or not later.devices
