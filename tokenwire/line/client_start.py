"""How a command for people begins: settings of the line that runs, and logs quiet enough to read its output."""

from __future__ import annotations

import click

from infra.settings import Settings, unknown_variables
from infra.telemetry.log_setup import configure_logging
from tokenwire.line.running_line import client_settings

__all__ = ["client_start", "warn_of_unknown"]


def client_start() -> Settings:
    """Settings, with logging set up. What goes wrong is told in the command's own line; logs speak at `debug`."""
    settings = client_settings()
    configure_logging(settings.log_format, "debug" if settings.log_level == "debug" else "error", "tokenwire")
    warn_of_unknown()
    return settings


def warn_of_unknown() -> None:
    """Tell of variables that look like settings and are none: nobody would ever know why they do nothing."""
    for sentence in unknown_variables():
        click.echo(f"Warning: {sentence}", err=True)
