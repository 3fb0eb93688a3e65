"""Files that children write to."""

from __future__ import annotations

import os
from pathlib import Path

from infra.embedded.child_log import bound_log, open_log, read_tail


def test_log_outgrows_its_bound_while_it_is_written(tmp_path: Path) -> None:
    """What was written is kept beside it, and the writer goes on at the start of the emptied file."""
    log_file = tmp_path / "logs" / "child.log"
    output = open_log(log_file)
    try:
        os.write(output, b"x" * 100)
        bound_log(log_file, bytes_max=99)
        os.write(output, b"after")
    finally:
        os.close(output)

    assert log_file.read_bytes() == b"after"
    assert (tmp_path / "logs" / "child.log.1").read_bytes() == b"x" * 100


def test_log_within_its_bound(tmp_path: Path) -> None:
    """It is left alone; so is one that is not there."""
    log_file = tmp_path / "child.log"
    bound_log(log_file)
    log_file.write_bytes(b"few")
    bound_log(log_file, bytes_max=3)

    assert [path.name for path in tmp_path.iterdir()] == ["child.log"]


def test_last_words(tmp_path: Path) -> None:
    """The end of the file, also where the cut goes through a character."""
    log_file = tmp_path / "child.log"
    log_file.write_text("é" * 10 + "end\n")

    assert read_tail(log_file, bytes_max=7).endswith("éend")
    assert read_tail(tmp_path / "absent") == ""
