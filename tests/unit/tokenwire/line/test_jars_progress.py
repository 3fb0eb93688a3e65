"""How far the download of the broker has come."""

from __future__ import annotations

import pytest

from infra.embedded.broker_jars import JarsProgress
from tokenwire.line.jars_progress import MEBIBYTE, show_jars_progress

__all__: list[str] = []
STEPS = [JarsProgress(jars, 3, jars * 30 * MEBIBYTE, 90 * MEBIBYTE) for jars in (1, 2, 3)]


def test_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, written over at each step, that ends with the last."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    for step in STEPS:
        show_jars_progress(step)

    told = capsys.readouterr().err
    assert told.count("\r") == 3
    assert told.endswith("90 of 90 MB \n")
    assert told.count("\n") == 1


def test_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """The beginning and the end, a line each."""
    for step in STEPS:
        show_jars_progress(step)

    assert capsys.readouterr().err.splitlines() == [
        "Fetching the Kafka broker, needed once: 30 of 90 MB",
        "Fetching the Kafka broker, needed once: 90 of 90 MB",
    ]
