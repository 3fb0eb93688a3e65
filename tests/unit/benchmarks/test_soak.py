"""What the soak judges."""

from __future__ import annotations

import pytest

from benchmarks.soak import MemoryCurve, slope_per_min

__all__: list[str] = []


def test_slope_is_that_of_the_line_through_the_points() -> None:
    """Noise that goes both ways does not change it."""
    assert slope_per_min([(0.0, 10.0), (60.0, 12.0), (120.0, 14.0)]) == pytest.approx(2.0)
    assert slope_per_min([(0.0, 1.0), (60.0, 3.0), (120.0, 1.0)]) == pytest.approx(0.0)


def test_too_few_points_have_no_slope() -> None:
    """Nothing is grown in no time."""
    assert slope_per_min([]) == slope_per_min([(5.0, 1.0)]) == 0.0


def test_growth_is_judged_after_settling_in_millions_of_bytes() -> None:
    """The first quarter, in which a process takes what it takes once, is left out."""
    curve = MemoryCurve([(float(at_s), 100.0 if at_s < 60 else 200.0 + at_s / 60) for at_s in range(0, 241, 10)])

    assert curve.growth_mb_per_min() == pytest.approx(2**20 / 1e6)
