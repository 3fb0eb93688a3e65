"""A library in trouble does not fill the disk."""

from __future__ import annotations

import logging

from infra.telemetry.quiet_repeats import REPEAT_S, QuietRepeats
from tests.fakes.virtual_clock import VirtualClock


def record(message: object, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("aiokafka", logging.WARNING, "file.py", 1, message, arguments, None)


def test_repeated_message_is_shown_once_and_counted() -> None:
    """By its template: the arguments may differ. Others pass."""
    clock = VirtualClock()
    quiet = QuietRepeats(monotonic_s=clock.monotonic_s)

    shown = [quiet.filter(record("Unable connect to node %s", node)) for node in range(4)]
    other = quiet.filter(record("something else"))
    clock.advance(REPEAT_S)
    again = record("Unable connect to node %s", 7)

    assert shown == [True, False, False, False]
    assert other
    assert quiet.filter(again)
    assert again.getMessage() == "Unable connect to node 7 (and 3 more like it)"


def test_our_events_always_pass() -> None:
    """They say what happened, each time."""
    quiet = QuietRepeats()

    assert all(quiet.filter(record({"event": "turn_failed"})) for _ in range(3))
