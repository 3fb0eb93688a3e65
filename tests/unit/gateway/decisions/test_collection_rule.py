"""When a gateway looks for cyclic garbage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.decisions.collection_rule import AGAIN_S, LEFT_MIN, QUIET_S, collection_is_due


@pytest.mark.parametrize(
    ("left", "present", "since_s", "due"),
    [
        (0, 10_000, 1e6, False),
        (4_999, 10_000, 1.0, False),
        (5_000, 10_000, 1.0, True),
        (LEFT_MIN - 1, 10, 1.0, False),
        (LEFT_MIN, 10, 1.0, True),
        (1, 0, 1.0, True),
        (0, 0, 1.0, False),
        (0, 10, QUIET_S, True),
        (0, 10, QUIET_S - 1, False),
    ],
)
def test_departures_decide(left: int, present: int, since_s: float, due: bool) -> None:
    """As many as half of those present; or a quiet time with few; or nobody is there."""
    assert collection_is_due(left=left, present=present, since_s=since_s) is due


def test_once_more_after_the_last_one() -> None:
    """What ends a little after the last connection is collected as well; not while others are here."""
    assert collection_is_due(left=0, present=0, since_s=AGAIN_S, again=True)
    assert not collection_is_due(left=0, present=0, since_s=AGAIN_S / 2, again=True)
    assert not collection_is_due(left=0, present=1, since_s=AGAIN_S, again=True)


@given(present=st.integers(0, 100_000), since_s=st.floats(0, 1e6))
def test_nobody_waits_for_nothing(present: int, since_s: float) -> None:
    """Where nobody has left, streams of many are never stopped."""
    assert not collection_is_due(left=0, present=present + 501, since_s=since_s)
