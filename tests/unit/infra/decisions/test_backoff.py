"""Pauses between tries, over any numbers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.decisions.backoff import FOR_EVER, Backoff, Growth

__all__: list[str] = []

growths = st.sampled_from(["level", "even", "doubling"])
seconds = st.floats(0.001, 1e3)
backoffs = st.builds(
    Backoff, seconds, growth=growths, longest_pause_s=seconds, jitter_s=seconds, tries_max=st.integers(1, 20)
)


@pytest.mark.parametrize(
    ("growth", "pauses_s"), [("level", [2, 2, 2, 2]), ("even", [2, 4, 6, 7]), ("doubling", [2, 4, 7, 7])]
)
def test_pauses_grow(growth: Growth, pauses_s: list[int]) -> None:
    """They stay the same, grow by the first one, or double, as far as the longest."""
    backoff = Backoff(2.0, growth=growth, longest_pause_s=7.0)

    assert [backoff.pause_s(failures) for failures in (1, 2, 3, 4)] == pauses_s


@given(backoffs, st.integers(1, 2_000), st.floats(0, 1))
def test_any_pause(backoff: Backoff, failures: int, draw: float) -> None:
    """None is shorter than the one before it, and none beyond the longest and what may be drawn."""
    pause_s = backoff.pause_s(failures)

    assert 0 < backoff.pause_s(max(1, failures - 1)) <= pause_s <= backoff.longest_pause_s
    assert pause_s <= backoff.pause_s(failures, draw=draw) <= pause_s + backoff.jitter_s


@given(backoffs, seconds)
def test_longest_wait(backoff: Backoff, try_s: float) -> None:
    """All tries and the pauses between them; without a last try there is no longest."""
    pauses_s = [backoff.pause_s(failures, draw=1.0) for failures in range(1, backoff.tries_max)]

    assert math.isclose(backoff.longest_s(try_s), sum(pauses_s) + backoff.tries_max * try_s)
    assert math.isinf(Backoff(1.0, tries_max=FOR_EVER).longest_s(try_s))
