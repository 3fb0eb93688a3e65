"""One line on a terminal that says how things stand."""

from __future__ import annotations

import pytest

from tokenwire.commands.status_line import CLEAR, REWRITTEN_EVERY_S, StatusLine

__all__: list[str] = []


def test_line_is_rewritten_in_place(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Seldom enough to be read, asking for its words only then; as wide as the terminal; gone when it is cleared."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "20")
    now_s, asked = 0.0, 0

    def told() -> str:
        nonlocal asked
        asked += 1
        return f"{asked} of 9 \x1b[2J and much more than fits"

    line = StatusLine(lambda: now_s)
    line.show(told)
    line.show(told)
    now_s += REWRITTEN_EVERY_S
    line.show(told)
    line.clear()
    line.clear()

    shown = capsys.readouterr()
    rewritten = shown.err.split(CLEAR)
    assert shown.out == ""
    assert [text[:6] for text in rewritten] == ["", "1 of 9", "2 of 9", ""]
    assert all(len(text) < 20 and "\x1b" not in text for text in rewritten)


def test_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is written, and nobody is asked for words."""
    line = StatusLine()
    line.show(lambda: pytest.fail("asked"))
    line.clear()

    assert capsys.readouterr() == ("", "")
