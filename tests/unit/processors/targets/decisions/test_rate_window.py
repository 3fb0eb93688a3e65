"""Whether a call may go out now."""

from __future__ import annotations

import math

import pytest

from processors.targets.decisions.rate_window import (
    BURST_S,
    RESET_S_MAX,
    WINDOW_S,
    AllGranted,
    Charge,
    Granted,
    NeverFits,
    RateState,
    RetryAt,
    ask,
    ask_all,
    headers_seen,
    initial_state,
    relimit,
    room,
    settle,
)

LIMIT = 60.0
BURST = 10


def granted(state: RateState, amount: float, now_s: float) -> RateState:
    answer = ask(state, amount, now_s)
    assert isinstance(answer, Granted)
    assert answer.charge == Charge(amount, now_s)
    return answer.state


def spent(state: RateState, now_s: float, *, calls: int) -> RateState:
    for _ in range(calls):
        state = granted(state, 1, now_s)
    return state


def test_idle_target() -> None:
    """It takes a burst, then one call each time that the pace has room for it."""
    state = spent(initial_state(LIMIT, 0), 0, calls=BURST)

    assert ask(state, 1, 0) == RetryAt(1)
    assert ask(granted(state, 1, 1), 1, 1) == RetryAt(2)


def test_target_without_a_burst() -> None:
    """A worker that has just taken a share over begins with an empty bucket."""
    state = initial_state(LIMIT, 0, burst=False)

    assert ask(state, 1, 0) == RetryAt(1)
    assert ask(state, BURST, 0) == RetryAt(BURST_S)


def test_limit_used_up() -> None:
    """The pace alone would allow it; the window does not, until the first second has aged."""
    state = spent(initial_state(LIMIT, 0), 0, calls=BURST)
    for second in range(1, 51):
        state = granted(state, 1, second)

    assert room(state, 50) == 0
    assert ask(state, 1, 55) == RetryAt(1 + WINDOW_S)
    assert room(state, 1 + WINDOW_S) == pytest.approx(BURST / LIMIT)


def test_amount_above_the_bucket() -> None:
    """It goes out when the bucket is full and leaves a debt."""
    state = granted(initial_state(LIMIT, 0), 40, 0)

    assert ask(state, 1, 0) == RetryAt(31)
    assert ask(granted(initial_state(LIMIT, 0), 1, 0), 40, 0) == RetryAt(1)


def test_amount_above_the_limit() -> None:
    """Waiting does not help, and neither does it where another worker holds the limit."""
    assert ask(initial_state(LIMIT, 0), 61, 0) == NeverFits(LIMIT)
    assert ask(initial_state(0, 0), 1, 0) == NeverFits(0)


def test_unlimited() -> None:
    """Everything goes, and all is room."""
    state = granted(initial_state(None, 0), 1e9, 0)

    assert room(state, 0) == 1
    assert isinstance(ask(state, 1e9, 0), Granted)


def test_several_limits() -> None:
    """All or nothing: the latest of the waits, and never where one never fits."""
    requests, tokens = initial_state(LIMIT, 0), initial_state(6_000, 0, burst=False)

    match ask_all((requests, tokens), (1, 500), 5):
        case AllGranted(states, charges):
            assert charges == (Charge(1, 5), Charge(500, 5))
            assert states == (granted(requests, 1, 5), granted(tokens, 500, 5))
        case other:
            pytest.fail(f"{other}")
    assert ask_all((requests, tokens), (1, 500), 4) == RetryAt(5)
    assert ask_all((requests, tokens), (1, 6_001), 5) == NeverFits(6_000)


def test_settled_below_the_charge() -> None:
    """What was not used may be granted again, to window and pace."""
    state = granted(initial_state(LIMIT, 0), 60, 0)

    after = settle(state, Charge(60, 0), 5, 3)

    assert room(after, 3) == pytest.approx(55 / 60)
    assert isinstance(ask(after, 5, 3), Granted)
    assert ask(after, 56, 3) == RetryAt(1 + WINDOW_S)


def test_settled_above_the_charge() -> None:
    """The rest counts as of now, even beyond the limit, and holds others up until it has aged."""
    state = granted(initial_state(LIMIT, 0), 10, 0)

    after = settle(state, Charge(10, 0), 75, 30)

    assert room(after, 30) == 0
    assert ask(after, 1, 31) == RetryAt(31 + WINDOW_S)
    assert room(after, 61) == 0


def test_settled_after_the_window() -> None:
    """A charge that has aged has nothing left to give: what others were charged stays."""
    state = granted(granted(initial_state(LIMIT, 0), 10, 0), 20, 70)

    assert room(settle(state, Charge(10, 0), 1, 75), 75) == pytest.approx(40 / 60)


def test_settled_as_charged() -> None:
    """Nothing changes."""
    state = granted(initial_state(LIMIT, 0), 10, 0)

    assert settle(state, Charge(10, 0), 10, 5) == state


def test_headers_that_leave_less() -> None:
    """No more than they leave goes out until they say that it resets; then our own limit is all that counts."""
    state = headers_seen(initial_state(LIMIT, 0), 2, 30, 0)

    assert room(state, 0) == pytest.approx(2 / 60)
    assert ask(state, 3, 1) == RetryAt(30)
    state = spent(state, 1, calls=2)
    assert ask(state, 1, 1) == RetryAt(30)
    assert room(state, 1) == 0
    assert isinstance(ask(state, 1, 30), Granted)
    assert room(state, 30) == pytest.approx(58 / 60)


def test_headers_that_leave_more() -> None:
    """Our own limit holds all the same."""
    state = headers_seen(spent(initial_state(LIMIT, 0), 0, calls=BURST), 1_000, 30, 0)

    assert ask(state, 1, 0) == RetryAt(1)


def test_headers_of_an_earlier_call() -> None:
    """What was granted after it may not be counted in them yet; the call itself is."""
    state = granted(granted(initial_state(LIMIT, 0), 1, 0), 4, 2)

    assert headers_seen(state, 9, 30, 3, answered=Charge(1, 0)).seen_remaining == 5
    assert headers_seen(state, 9, 30, 3, answered=Charge(4, 2)).seen_remaining == 9
    assert headers_seen(state, 3, 30, 3, answered=Charge(1, 0)).seen_remaining == 0


@pytest.mark.parametrize(("reset_s", "until_s"), [(-5.0, 100.0), (math.inf, 100 + RESET_S_MAX)])
def test_headers_out_of_this_world(reset_s: float, until_s: float) -> None:
    """The past is now, and nothing blocks a target for ever."""
    assert headers_seen(initial_state(LIMIT, 0), -1, reset_s, 100) == RateState(LIMIT, 0, (), 0.0, until_s)


def test_headers_of_an_unlimited_target() -> None:
    """They are all the limit there is."""
    state = granted(headers_seen(initial_state(None, 0), 4, 30, 0), 1, 1)

    assert room(state, 1) == pytest.approx(3 / 4)
    assert room(headers_seen(initial_state(None, 0), 0, 30, 0), 1) == 0
    assert room(state, 30) == 1


def test_share_that_shrinks() -> None:
    """The lower limit counts at once, with what is charged already."""
    state = relimit(spent(initial_state(LIMIT, 0), 0, calls=8), 6, 0)

    assert room(state, 0) == 0
    assert ask(state, 1, 0) == RetryAt(1 + WINDOW_S)


def test_share_that_grows() -> None:
    """It brings rate, no burst: one call of the old burst is still there."""
    state = relimit(initial_state(6, 0), LIMIT, 100)

    assert ask(granted(state, 1, 100), 1, 100) == RetryAt(101)


def test_share_that_is_lost_and_comes_back() -> None:
    """Nothing goes meanwhile, and there is no burst afterwards."""
    lost = relimit(initial_state(LIMIT, 0), 0, 100)

    assert ask(lost, 1, 100) == NeverFits(0)
    assert ask(relimit(lost, LIMIT, 500), 1, 500) == RetryAt(501)


def test_limit_that_is_lifted_and_set() -> None:
    """The settings were reloaded: what was charged still counts, the bucket is full."""
    lifted = relimit(spent(initial_state(LIMIT, 0), 0, calls=BURST), None, 1)

    assert room(lifted, 1) == 1
    assert room(relimit(lifted, LIMIT, 2), 2) == pytest.approx(50 / 60)
    assert isinstance(ask(relimit(lifted, LIMIT, 2), BURST, 2), Granted)


def test_no_limit_and_no_headers_left() -> None:
    """A limit of nothing has no room."""
    assert room(initial_state(0, 0), 0) == 0


def test_after_the_reset() -> None:
    """The limit that the headers name is there again, until the next ones; all that waited does not go out at once."""
    state = headers_seen(initial_state(None, 0.0), 0, 10.0, 0.0, limit=2)
    assert ask(state, 1, 9.9) == RetryAt(10.0)
    for _ in range(2):
        granted = ask(state, 1, 10.0)
        assert isinstance(granted, Granted)
        state = granted.state

    assert ask(state, 1, 11.0) == RetryAt(10.0 + WINDOW_S)
    assert isinstance(ask(headers_seen(state, 5, 1.0, 11.0, limit=2), 1, 11.0), Granted)
    assert isinstance(ask(state, 1, 10.0 + WINDOW_S), Granted)


def test_call_above_the_limit_of_the_headers() -> None:
    """It goes out after the reset and finds out, instead of waiting for ever."""
    state = headers_seen(initial_state(None, 0.0), 0, 10.0, 0.0, limit=100)

    assert ask(state, 500, 5.0) == RetryAt(10.0)
    assert isinstance(ask(state, 500, 10.0), Granted)
