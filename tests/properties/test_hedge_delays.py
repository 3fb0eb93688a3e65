"""The hedge delay over any times."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from processors.attempts.decisions.hedge_delay import (
    CEILING_S,
    FLOOR_S,
    OBSERVED_MAX,
    OBSERVED_MIN,
    PERCENTILE,
    FirstTokenTimes,
    hedge_delay_s,
    observed,
)

__all__: list[str] = []

times_of_calls = st.lists(st.floats(0, 1_000), max_size=OBSERVED_MAX + 50)


@given(times_of_calls)
def test_delay_is_bounded_and_rarely_passed(given_times: list[float]) -> None:
    """At most a twentieth of what was seen is slower; memory and delay have their bounds."""
    times: FirstTokenTimes = ()
    for time_s in given_times:
        times = observed(times, time_s)
    delay_s = hedge_delay_s(times)

    assert times == tuple(given_times[-OBSERVED_MAX:])
    assert (delay_s is None) == (len(times) < OBSERVED_MIN)
    if delay_s is not None:
        assert FLOOR_S <= delay_s <= CEILING_S
        slower = sum(time_s > delay_s for time_s in times)
        assert delay_s == CEILING_S or slower <= (1 - PERCENTILE) * len(times)


@given(st.lists(st.floats(0, 20), min_size=OBSERVED_MIN, max_size=OBSERVED_MAX - 1), st.floats(0, 20))
def test_slower_call_never_shortens_the_delay(given_times: list[float], more_s: float) -> None:
    """Whoever was beaten and is noted with the time it was silent does not make the next one hedged sooner."""
    times = tuple(given_times)
    before_s = hedge_delay_s(times)
    assert before_s is not None
    after_s = hedge_delay_s(observed(times, before_s + more_s))

    assert after_s is not None
    assert after_s >= before_s
