"""The watchdog for any times."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from processors.decisions.stream_watchdog import Healthy, Stalled, StreamDeadlines, StreamProgress, watch

seconds = st.floats(0.001, 1_000)
moments = st.none() | st.floats(0, 1_000)
limits = st.builds(StreamDeadlines, connect_s=seconds, first_token_s=seconds, between_tokens_s=seconds, total_s=seconds)
streams = st.builds(
    StreamProgress,
    requested_s=st.floats(0, 10),
    connected_s=moments,
    alive_s=moments,
    finished_s=moments,
    away_s=st.floats(0, 100),
    held_s=st.floats(0, 100),
)


@given(progress=streams, deadlines=limits, now_s=st.floats(0, 5_000))
def test_verdict_and_its_time_agree(progress: StreamProgress, deadlines: StreamDeadlines, now_s: float) -> None:
    """A healthy stream is healthy until the time that the verdict names, and not at that time."""
    match watch(progress, deadlines, now_s):
        case Healthy(look_at_s, next_deadline):
            assert look_at_s > now_s
            assert watch(progress, deadlines, look_at_s) == Stalled(next_deadline)
        case Stalled():
            assert isinstance(watch(progress, deadlines, now_s + 1), Stalled)


@given(progress=streams, deadlines=limits, late_s=st.floats(0, 100))
def test_total_is_never_exceeded(progress: StreamProgress, deadlines: StreamDeadlines, late_s: float) -> None:
    """Whatever happened, nothing is healthy after the total time; what was held back on purpose is no part of it."""
    verdict = watch(progress, deadlines, progress.requested_s + progress.held_s + deadlines.total_s + late_s)

    assert isinstance(verdict, Stalled)
