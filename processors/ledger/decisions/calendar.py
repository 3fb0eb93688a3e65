"""UTC's days and months, in microseconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

__all__ = ["DAY_US", "day_of", "month_begins_us", "month_of"]

DAY_US: Final = 86_400_000_000
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def day_of(at_us: int) -> int:
    """Days since 1970."""
    return at_us // DAY_US


def month_of(at_us: int) -> int:
    """Months since January 1970."""
    moment = EPOCH + timedelta(days=day_of(at_us))
    return (moment.year - EPOCH.year) * 12 + moment.month - 1


def month_begins_us(month: int) -> int:
    """When a month begins."""
    year, index = divmod(month, 12)
    return (datetime(EPOCH.year + year, index + 1, 1, tzinfo=UTC) - EPOCH).days * DAY_US
