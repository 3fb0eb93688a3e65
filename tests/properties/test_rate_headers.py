"""Headers of any kind: what is read of them is finite, and only ever tightens what a worker allows itself."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from processors.providers.decisions.rate_headers import LimitSeen, RateHeaders, read_rate_headers, reset_in_s
from processors.targets.decisions.rate_window import Granted, ask, headers_seen, initial_state

__all__: list[str] = []

NOW_S = 1_700_000_000.0
NAMES = (
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "anthropic-ratelimit-tokens-remaining",
    "anthropic-ratelimit-tokens-reset",
)
words = st.one_of(
    st.text(max_size=80),
    st.text("0123456789.msh-+:TZe", max_size=20),
    st.floats().map(str),
    st.integers().map(str),
    st.datetimes().map(str),
)


@given(st.dictionaries(st.sampled_from(NAMES), words))
def test_any_headers(headers: dict[str, str]) -> None:
    """Whatever they say, nothing is raised, and a limit has a finite remainder and a finite moment."""
    found = read_rate_headers(headers, NOW_S)

    assert found != RateHeaders()
    for seen in (found.requests, found.tokens) if found is not None else ():
        if seen is not None:
            assert 0 <= seen.remaining < math.inf
            assert 0 <= seen.reset_s < math.inf


@given(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_durations(hours: int, minutes: int, seconds: int, milliseconds: int) -> None:
    """However a duration is put together, it is the sum of its parts."""
    text = f"{hours}h{minutes}m{seconds}s{milliseconds}ms"

    assert reset_in_s(text, NOW_S) == (hours * 60 + minutes) * 60 + seconds + milliseconds * 1e-3


@given(st.floats(0, 1_000), st.floats(0, 100), st.floats(0, 1), st.lists(st.integers(1, 20), max_size=30))
def test_share_of_what_is_left_is_never_passed(left: float, reset_s: float, share: float, amounts: list[int]) -> None:
    """Until the reset a worker grants itself its share of the remainder at most, whatever is asked of it."""
    seen = LimitSeen(left, reset_s)
    state = headers_seen(initial_state(None, 0.0), seen.remaining * share, seen.reset_s, 0.0)
    granted = 0
    for amount in amounts:
        answer = ask(state, amount, 0.0)
        if isinstance(answer, Granted):
            state, granted = answer.state, granted + amount

    assert granted <= left * share or not reset_s
