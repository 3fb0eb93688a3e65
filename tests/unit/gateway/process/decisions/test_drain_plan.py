"""When the clients of a leaving gateway are sent elsewhere."""

from __future__ import annotations

from gateway.process.decisions.drain_plan import DrainSlot, drain_slots


def test_few_clients_go_at_once() -> None:
    """No longer than it takes a sibling to let them in."""
    assert drain_slots([False, False], window_s_max=5.0, per_s=1_000.0) == [DrainSlot(0, 0.001), DrainSlot(1, 0.002)]


def test_many_clients_are_spread_over_the_window() -> None:
    """Evenly, the last one at its end."""
    slots = drain_slots([False] * 10_000, window_s_max=5.0, per_s=1_000.0)

    assert slots[-1] == DrainSlot(9_999, 5.0)
    assert slots[0].at_s == 0.0005


def test_answers_under_way_stay_longest() -> None:
    """Among equals the order of arrival stays."""
    slots = drain_slots([True, False, True, False], window_s_max=4.0, per_s=1.0)

    assert [slot.index for slot in slots] == [1, 3, 0, 2]


def test_nobody_there() -> None:
    """Nothing to do."""
    assert drain_slots([], window_s_max=5.0, per_s=1_000.0) == []
