"""When a gateway looks for cyclic garbage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.process.decisions.collection_rule import AGAIN_S, LEFT_MIN, QUIET_S, Relief, relief_due


@pytest.mark.parametrize(
    ("left", "present", "since_s", "due"),
    [
        (0, 10_000, 1e6, Relief.NONE),
        (4_999, 10_000, 1.0, Relief.NONE),
        (5_000, 10_000, 1.0, Relief.TRIM),
        (19_999, 10_000, 1.0, Relief.TRIM),
        (20_000, 10_000, 1.0, Relief.COLLECT),
        (LEFT_MIN - 1, 10, 1.0, Relief.NONE),
        (LEFT_MIN, 10, 1.0, Relief.COLLECT),
        (1, 0, 1.0, Relief.COLLECT),
        (0, 0, 1.0, Relief.NONE),
        (0, 10, QUIET_S, Relief.COLLECT),
        (0, 10, QUIET_S - 1, Relief.NONE),
    ],
)
def test_departures_decide(left: int, present: int, since_s: float, due: Relief) -> None:
    """As many as half of those present, or as twice; or a quiet time with few; or nobody is there."""
    assert relief_due(left=left, untrimmed=left, present=present, since_s=since_s) is due


def test_pages_were_given_back_a_moment_ago() -> None:
    """They are not asked for again for the same departures."""
    assert relief_due(left=6_000, untrimmed=1_000, present=10_000, since_s=1.0) is Relief.NONE


def test_once_more_after_the_last_one() -> None:
    """What ends a little after the last connection is collected as well; not while others are here."""
    assert relief_due(left=0, untrimmed=0, present=0, since_s=AGAIN_S, again=True) is Relief.COLLECT
    assert relief_due(left=0, untrimmed=0, present=0, since_s=AGAIN_S / 2, again=True) is Relief.NONE
    assert relief_due(left=0, untrimmed=0, present=1, since_s=AGAIN_S, again=True) is Relief.NONE


@given(present=st.integers(0, 100_000), since_s=st.floats(0, 1e6))
def test_nobody_waits_for_nothing(present: int, since_s: float) -> None:
    """Where nobody has left, streams of many are never stopped."""
    assert relief_due(left=0, untrimmed=0, present=present + 501, since_s=since_s) is Relief.NONE
