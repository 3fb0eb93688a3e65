"""Moments as people type them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
import pytest

from tokenwire.commands.time_since import TimeSince


def read(text: str) -> datetime:
    return TimeSince().convert(text, None, None)


def test_so_long_ago_and_dates_are_understood() -> None:
    """A date without a zone is UTC."""
    ago_s = (datetime.now(UTC) - read("1.5h")).total_seconds()

    assert ago_s == pytest.approx(5_400, abs=10)
    assert read("2026-11-25T08:00") == datetime(2026, 11, 25, 8, tzinfo=UTC)
    assert read("2026-11-25T08:00+01:00").utcoffset() == timedelta(hours=1)


@pytest.mark.parametrize("text", ["yesterday", "2x", "", "999999999d"])
def test_anything_else_is_refused_with_examples(text: str) -> None:
    """The sentence shows what would do."""
    with pytest.raises(click.BadParameter, match="30m, 2h, 3d"):
        read(text)
