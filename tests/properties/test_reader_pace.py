"""The pace of a reader, under any reading: nothing is missed in the count, nothing hangs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from processors.sessions.decisions.reader_pace import ABSENT_S, STALLED_S, GoOn, PaceLimits, ReaderPace, Wait

STEPS = st.lists(
    st.tuples(st.integers(0, 700), st.integers(0, 3), st.floats(0, 20), st.booleans()), min_size=1, max_size=60
)


@given(STEPS)
def test_read_goes_on_only_within_the_limit_or_where_waiting_is_vain(
    steps: list[tuple[int, int, float, bool]],
) -> None:
    """What lies beyond the reader never passes the limit unnoticed, and any pause ends by itself."""
    limits = PaceLimits(pause_bytes=1_000)
    pace, now_s, offset, read_offset = ReaderPace(limits, 0.0), 0.0, 0, -1
    sizes: dict[int, int] = {}
    for size, read_on, pause_s, attended in steps:
        now_s += pause_s
        if size:
            sizes[offset] = size
            pace.append(offset, size)
            offset += 1
        read_offset = min(offset, read_offset + read_on)
        said = pace.look(read_offset=read_offset, attended=attended, now_s=now_s)
        beyond = sum(size for at, size in sizes.items() if at >= read_offset)

        assert pace.beyond_bytes == beyond
        if isinstance(said, Wait):
            assert now_s < said.look_at_s <= now_s + max(ABSENT_S, STALLED_S)
            assert beyond > limits.resume_bytes
        elif beyond > limits.pause_bytes:
            assert now_s >= min(pace.attended_s + ABSENT_S, pace.moved_s + STALLED_S)
    for _ in range(2):  # nobody says anything more: one look at the time that was named is enough
        if isinstance(said, Wait):
            said = pace.look(read_offset=read_offset, attended=False, now_s=said.look_at_s)
    assert said == GoOn()
