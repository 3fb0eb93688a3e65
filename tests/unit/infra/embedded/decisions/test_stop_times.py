"""How long a stop of everything may take."""

from __future__ import annotations

from infra.embedded.decisions.stop_times import whole_stop_s


def test_children_that_need_nobody_stop_at_once() -> None:
    """The slowest of them decides."""
    assert whole_stop_s({"a": 2.0, "b": 5.0}, {}) == 5.0


def test_children_that_need_each_other_stop_one_after_the_other() -> None:
    """The longest way down decides, not the number of children."""
    stop_s = {"kafka": 10.0, "provider": 5.0, "worker": 10.0, "gateway": 15.0}
    needs = {"worker": ("kafka",), "gateway": ("kafka", "worker")}

    assert whole_stop_s(stop_s, needs) == 35.0


def test_nobody_takes_no_time() -> None:
    """No child, no wait."""
    assert whole_stop_s({}, {}) == 0.0
