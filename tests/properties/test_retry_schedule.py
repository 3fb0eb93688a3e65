"""The retry schedule over any failure and any draw."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from processors.targets.decisions.retry_policy import (
    ATTEMPTS_MAX,
    ELSEWHERE_CODES,
    JITTER_S,
    PASSING_CODES,
    WAITED_S_MAX,
    FailureView,
    GiveUp,
    RetryAt,
    decide_retry,
)

codes = st.sampled_from([*sorted(PASSING_CODES | ELSEWHERE_CODES), "provider_refused", "provider_error"])
failures = st.builds(FailureView, codes, st.booleans(), st.one_of(st.none(), st.floats(0, 1e5)), st.floats(0, 200))
draws = st.floats(0, 1, exclude_max=True)


@given(failures, st.integers(1, 10), draws, st.floats(0, 1e6), st.floats(-100, 1e5))
def test_any_failure(failure: FailureView, attempt: int, draw: float, now_s: float, left_s: float) -> None:
    """A retry is after its pause and what was asked, within the jitter, before the deadline, and never a sixth."""
    deadline_s = now_s + left_s
    decision = decide_retry(failure, attempt=attempt, draw=draw, now_s=now_s, deadline_s=deadline_s)
    floor_s = now_s + max(2.0 ** (attempt - 1), failure.retry_after_s or 0)

    if isinstance(decision, RetryAt):
        assert floor_s <= decision.at_s <= floor_s + JITTER_S
        assert decision.at_s < deadline_s
        assert attempt < ATTEMPTS_MAX
        assert failure.temporary
        assert failure.waited_s < WAITED_S_MAX
        assert failure.code in PASSING_CODES
    elif decision == GiveUp("deadline"):
        assert floor_s + JITTER_S >= deadline_s


@given(st.lists(draws, min_size=ATTEMPTS_MAX, max_size=ATTEMPTS_MAX), st.floats(1, 100))
def test_whole_schedule(drawn: list[float], deadline_s: float) -> None:
    """At most five attempts, 15 s and four jitters of waiting, all before the deadline."""
    now_s, attempts = 0.0, 0
    while True:
        attempts += 1
        failure = FailureView("provider_failed", temporary=True)
        match decide_retry(failure, attempt=attempts, draw=drawn[attempts - 1], now_s=now_s, deadline_s=deadline_s):
            case RetryAt(at_s):
                assert at_s > now_s
                now_s = at_s
            case GiveUp():
                break

    assert attempts <= ATTEMPTS_MAX
    assert now_s < deadline_s
    assert now_s <= 15 + 4 * JITTER_S  # four jitters of almost one each round to this very number
