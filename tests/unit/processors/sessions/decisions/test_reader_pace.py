"""When the read from a provider pauses for its readers."""

from __future__ import annotations

from processors.sessions.decisions.reader_pace import (
    ABSENT_S,
    APPENDS_MAX,
    STALLED_S,
    GoOn,
    PaceLimits,
    ReaderPace,
    Wait,
)

LIMITS = PaceLimits(pause_bytes=1_000)


def pace_with(*sizes: int, now_s: float = 0.0) -> ReaderPace:
    """Appends at offsets 10, 11 …"""
    pace = ReaderPace(LIMITS, now_s)
    for offset, size in enumerate(sizes, start=10):
        pace.append(offset, size)
    return pace


def test_read_pauses_above_the_limit_and_goes_on_at_half_of_it() -> None:
    """In between nothing changes, in either direction."""
    pace = pace_with(400, 400)
    below = pace.look(read_offset=10, attended=True, now_s=1.0)
    pace.append(12, 400)
    above = pace.look(read_offset=10, attended=True, now_s=2.0)
    between = pace.look(read_offset=11, attended=True, now_s=3.0)
    at_half = pace.look(read_offset=12, attended=True, now_s=4.0)
    pace.append(13, 400)

    assert below == at_half == GoOn()
    assert above == Wait(2.0 + ABSENT_S)
    assert between == Wait(3.0 + ABSENT_S)
    assert pace.look(read_offset=12, attended=True, now_s=5.0) == GoOn()


def test_nobody_there_is_waited_for_a_little_only() -> None:
    """And not at all once nobody has been there for that long; whoever comes further is waited for again."""
    pace = pace_with(2_000)

    assert pace.look(read_offset=-1, attended=False, now_s=1.0) == Wait(ABSENT_S)
    assert pace.look(read_offset=-1, attended=False, now_s=ABSENT_S) == GoOn()
    pace.append(11, 2_000)
    assert pace.look(read_offset=11, attended=True, now_s=20.0) == Wait(20.0 + ABSENT_S)


def test_reader_that_does_not_come_further_is_given_up() -> None:
    """Counted from the beginning of the pause: before it, it may have had nothing to read."""
    pace = pace_with(100)
    pace.look(read_offset=11, attended=True, now_s=1.0)
    pace.append(11, 2_000)
    begun_s = 10 * STALLED_S
    waits = pace.look(read_offset=11, attended=True, now_s=begun_s)
    late = pace.look(read_offset=11, attended=True, now_s=begun_s + STALLED_S - 1)

    assert waits == Wait(begun_s + ABSENT_S)
    assert late == Wait(begun_s + STALLED_S)
    assert pace.look(read_offset=11, attended=True, now_s=begun_s + STALLED_S) == GoOn()


def test_many_small_appends_are_joined() -> None:
    """Bounded in number, all bytes counted, until the newer of a pair is read."""
    pace = pace_with(*[1] * (APPENDS_MAX + 1))

    assert len(pace.beyond) == APPENDS_MAX // 2 + 1
    assert pace.beyond_bytes == APPENDS_MAX + 1
    assert pace.beyond[0] == (11, 2)
    assert pace.beyond[-1] == (10 + APPENDS_MAX, 1)
    pace.look(read_offset=11, attended=True, now_s=0.0)
    assert pace.beyond[0] == (11, 2)
    for number in range(APPENDS_MAX):
        pace.append(2_000 + number, 1)
    assert pace.beyond_bytes == 2 * APPENDS_MAX + 1
