"""One line on the terminal that tells how far the download of the broker has come."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from infra.embedded.broker_jars import JarsProgress

__all__ = ["show_jars_progress"]

MEBIBYTE: Final = 1024**2


def show_jars_progress(progress: JarsProgress) -> None:
    """Overwritten in place on a terminal; elsewhere only its beginning and end are told."""
    done = progress.jars_done == progress.jars_total
    sentence = (
        f"Fetching the Kafka broker, needed once: {progress.bytes_done // MEBIBYTE} of "
        f"{progress.bytes_total // MEBIBYTE} MB"
    )
    if sys.stderr.isatty():
        click.echo(f"\r{sentence} ", nl=done, err=True)
    elif done or progress.jars_done == 1:
        click.echo(sentence, err=True)
