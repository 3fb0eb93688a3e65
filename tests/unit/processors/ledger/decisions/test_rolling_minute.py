"""A minute that rolls, and the days and months of UTC.

Covers: processors.ledger.decisions.calendar.
"""

from __future__ import annotations

from processors.ledger.decisions.calendar import day_of, month_begins_us, month_of
from processors.ledger.decisions.rolling_minute import KEPT_S, SECOND_US, RollingMinute

__all__: list[str] = []


def test_amount_leaves_sixty_seconds_after_its_second() -> None:
    """Not a microsecond before."""
    minute = RollingMinute()
    minute.add(5, 999_999)
    minute.add(0, 999_999)

    assert minute.at(KEPT_S * SECOND_US - 1) == 5
    assert minute.at(KEPT_S * SECOND_US) == 0
    assert minute.slots() == ()


def test_amounts_of_a_second_are_one() -> None:
    """And one that comes with an older time counts in the newest second."""
    minute = RollingMinute([(1, 2)])
    for at_us in (1_500_000, 3_000_000, 2_000_000):
        minute.add(1, at_us)

    assert minute.slots() == ((1, 3), (3, 2))


def test_moment_of_room() -> None:
    """When so little counts that there is room; at once where there is."""
    minute = RollingMinute([(1, 2), (5, 3)])

    assert minute.falls_to(5) == 0
    assert minute.falls_to(4) == (1 + KEPT_S) * SECOND_US
    assert minute.falls_to(0) == (5 + KEPT_S) * SECOND_US


def test_what_is_taken_back_was_never_there() -> None:
    """If it still counts; what does not is not taken from anything else."""
    minute = RollingMinute([(1, 2), (5, 3)])
    minute.undo(1, 5_100_000)
    minute.undo(9, 1_000_000)
    minute.undo(1, 3_000_000)

    assert minute.slots() == ((5, 2),)
    assert minute.total == 2


def test_days_and_months_are_utcs() -> None:
    """Also over the end of a year."""
    new_year_us = month_begins_us((2030 - 1970) * 12)

    assert month_of(new_year_us) == month_of(new_year_us - 1) + 1
    assert day_of(new_year_us) == day_of(new_year_us - 1) + 1
    assert month_begins_us(month_of(new_year_us - 1)) == new_year_us - 31 * 86_400 * SECOND_US
