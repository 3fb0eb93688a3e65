"""Moments as people type them: `30m`, `2h`, `3d`, or a date and time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

__all__ = ["TimeSince"]

AGO: Final = re.compile(r"(?P<count>[0-9]{1,9}(?:\.[0-9]+)?)(?P<unit>[smhd])\Z")
UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class TimeSince(click.ParamType):
    """A moment: so long ago, or a date of ISO 8601 (UTC where it names no zone)."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The moment, with its zone. Fails with a sentence."""
        if isinstance(value, datetime):
            return value
        ago = AGO.match(str(value))
        try:
            if ago is not None:
                return datetime.now(UTC) - timedelta(**{UNITS[ago["unit"]]: float(ago["count"])})
            moment = datetime.fromisoformat(str(value))
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time; say 30m, 2h, 3d, or 2026-11-25T08:00", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
