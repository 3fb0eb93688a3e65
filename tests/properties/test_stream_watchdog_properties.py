"""The watchdog for any times."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from processors.providers.decisions.stream_watchdog import (
    Healthy,
    Late,
    Stalled,
    StreamDeadlines,
    StreamProgress,
    watch,
)

seconds = st.floats(0.001, 1_000)
moments = st.none() | st.floats(0, 1_000)
limits = st.builds(
    StreamDeadlines,
    connect_s=seconds,
    late_s=seconds,
    leave_s=seconds,
    first_token_s=seconds,
    between_tokens_s=seconds,
    total_s=seconds,
)
streams = st.builds(
    StreamProgress,
    requested_s=st.floats(0, 10),
    alive_s=moments,
    finished_s=moments,
    away_s=st.floats(0, 100),
    held_s=st.floats(0, 100),
)
silent = st.builds(
    StreamProgress, requested_s=st.floats(0, 10), away_s=st.floats(0, 100), looked_s=st.none() | st.floats(0, 5_000)
)


@given(progress=streams, deadlines=limits, now_s=st.floats(0, 5_000))
def test_verdict_and_its_time_agree(progress: StreamProgress, deadlines: StreamDeadlines, now_s: float) -> None:
    """A healthy stream is healthy until the time that the verdict names, and not at that time; the stalled stay so."""
    match watch(progress, deadlines, now_s):
        case Healthy(look_at_s, next_deadline):
            assert look_at_s > now_s
            then = watch(progress, deadlines, look_at_s)
            assert then == Stalled(next_deadline) or isinstance(then, Late)
        case Late():
            assert isinstance(watch(replace(progress, looked_s=now_s), deadlines, now_s), Healthy)
        case Stalled():
            assert isinstance(watch(progress, deadlines, now_s + 1), Stalled)


@given(progress=silent, deadlines=limits, now_s=st.floats(0, 5_000))
def test_silence_is_given_up_at_its_deadline_only(
    progress: StreamProgress, deadlines: StreamDeadlines, now_s: float
) -> None:
    """Before the first token a call is given up at one moment, and may be left from another one on."""
    began_s = progress.requested_s + progress.away_s
    ends_s = min(began_s + deadlines.first_token_s, progress.requested_s + deadlines.total_s)
    verdict = watch(progress, deadlines, now_s)

    assert isinstance(verdict, Stalled) == (now_s >= ends_s)
    if isinstance(verdict, Late):
        assert verdict.may_leave == (now_s >= began_s + deadlines.leave_s)


@given(deadlines=limits)
def test_somebody_else_is_looked_for_in_time(deadlines: StreamDeadlines) -> None:
    """Who waits for each verdict's moment hears that the call may be left when it may, unless it is over by then."""
    progress, now_s = StreamProgress(0), 0.0
    while True:
        match watch(progress, deadlines, now_s):
            case Healthy(look_at_s):
                now_s = look_at_s
            case Late(may_leave=False):
                progress.looked_s = now_s
            case Late():
                assert now_s == max(deadlines.leave_s, 0)
                return
            case Stalled():
                assert now_s <= deadlines.leave_s
                return


@given(progress=streams, deadlines=limits, now_s=st.floats(0, 5_000))
def test_nobody_who_has_spoken_is_late(progress: StreamProgress, deadlines: StreamDeadlines, now_s: float) -> None:
    """A call is left for another target before its first token only."""
    if progress.alive_s is not None or progress.finished_s is not None:
        assert not isinstance(watch(progress, deadlines, now_s), Late)


@given(progress=streams, deadlines=limits, late_s=st.floats(0, 100))
def test_total_is_never_exceeded(progress: StreamProgress, deadlines: StreamDeadlines, late_s: float) -> None:
    """Whatever happened, nothing is healthy after the total time; what was held back on purpose is no part of it."""
    verdict = watch(progress, deadlines, progress.requested_s + progress.held_s + deadlines.total_s + late_s)

    assert isinstance(verdict, Stalled)
