"""Nearest-rank quantiles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenwire.benchmark.quantiles import quantile, spread_of

__all__: list[str] = []


@given(st.lists(st.floats(-1e6, 1e6), min_size=1), st.floats(0.01, 1))
def test_any_sample(values: list[float], share: float) -> None:
    """A quantile is one of the values; at least the share is not above it, and less than the share is below it."""
    ordered = sorted(values)
    found = quantile(ordered, share)

    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values)


def test_hundred_values() -> None:
    """The middle is the 50th, p99 the 99th, whatever the order."""
    found = spread_of([float(value) for value in range(100, 0, -1)])

    assert found is not None
    assert (found.p50, found.p99, found.samples) == (50, 99, 100)


def test_no_values_have_no_spread() -> None:
    """Nothing measured is None and not a figure; a quantile of nothing is a fault of the caller."""
    assert spread_of([]) is None
    with pytest.raises(ValueError, match="no values"):
        quantile([], 0.5)


@pytest.mark.parametrize("share", [0, -0.5, 1.5])
def test_share_that_is_none(share: float) -> None:
    """A share lies above 0 and is at most 1."""
    with pytest.raises(ValueError, match="share"):
        quantile([1.0], share)
