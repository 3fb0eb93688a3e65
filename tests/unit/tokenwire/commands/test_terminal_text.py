"""Foreign words on a terminal."""

from __future__ import annotations

import sys

import pytest

from tokenwire.commands.terminal_text import escaped, printable


def test_S12_terminal_escapes_in_an_answer_are_shown_not_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal a model can't move the cursor; a pipe gets the words as they are."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    on_terminal = printable("a\x1b[2Jb\n\tc\x9b")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False, raising=False)

    assert on_terminal == "a\\x1b[2Jb\n\tc\\x9b"
    assert printable("\x1b[2J") == "\x1b[2J"


def test_S12_table_cell_is_one_line_of_plain_characters() -> None:
    """Whatever a foreign producer put into an identifier, wherever the table goes."""
    assert escaped("a\x1b[2Jb\n\tc") == "a\\x1b[2Jb\\n\\tc"


def test_S12_marks_of_direction_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line can't be made to read as another; letters of all scripts and joined emoji stay as they are."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    plain = "שלום 👩\u200d💻 日本"

    assert printable(f"{plain}\u202egpj.exe\u2066\u200f", sys.stderr) == f"{plain}\\u202egpj.exe\\u2066\\u200f"
    assert escaped("a\u202eb\u061c") == "a\\u202eb\\u061c"
