"""Room on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.embedded.disk_space import DiskSpaceShort, require_disk_space


def test_folder_does_not_exist_yet(tmp_path: Path) -> None:
    """The disk that will hold it is looked at, and nothing is created."""
    require_disk_space(tmp_path / "a" / "b", needed_bytes=1)

    assert list(tmp_path.iterdir()) == []


def test_disk_is_too_full(tmp_path: Path) -> None:
    """One sentence with the folder, both figures and the setting."""
    with pytest.raises(DiskSpaceShort, match=rf"GB are free for {tmp_path}.*1000000\.0 GB.*TOKENWIRE_HOME"):
        require_disk_space(tmp_path, needed_bytes=1_000_000 * 1024**3)
