"""Secrets as files: made once, for their owner only, whole or not at all.

Covers: infra.private_files.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.keys import SECRET_BYTES_MIN, SecretDamaged, SecretExposed, load_or_create_secret
from infra.private_files import keep_private

__all__: list[str] = []

PRINT_SECRET = """
import sys
from pathlib import Path
from infra.keys import load_or_create_secret
sys.stdin.readline()
print(load_or_create_secret(Path(sys.argv[1]), "cursor").decode())
"""


def test_secret_is_made_once_and_found_again(tmp_path: Path) -> None:
    """The second call returns what the first one made; other names have other secrets."""
    folder = tmp_path / "home" / "keys"
    secret = load_or_create_secret(folder, "auth")

    assert len(secret) >= SECRET_BYTES_MIN
    assert load_or_create_secret(folder, "auth") == secret
    assert load_or_create_secret(folder, "cursor") != secret


def test_secret_is_for_its_owner_only(tmp_path: Path) -> None:
    """Folder and file are made unreadable for others, and nothing else is left behind."""
    folder = tmp_path / "keys"
    load_or_create_secret(folder, "auth")

    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "auth").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in folder.iterdir()] == ["auth"]


def test_file_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    """Wide permissions are narrowed when the secret is read."""
    load_or_create_secret(tmp_path, "auth")
    (tmp_path / "auth").chmod(0o644)
    load_or_create_secret(tmp_path, "auth")

    assert (tmp_path / "auth").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("place", ["keys", "keys/auth"])
def test_S21_what_others_may_write_is_refused(tmp_path: Path, place: str) -> None:
    """They may have put a key of theirs there; the sentence names the path and what to do."""
    load_or_create_secret(tmp_path / "keys", "auth")
    (tmp_path / place).chmod(0o722)
    with pytest.raises(SecretExposed, match="chmod") as refused:
        load_or_create_secret(tmp_path / "keys", "auth")

    assert refused.value.path == tmp_path / place


def test_S21_folders_of_ours_are_private_whatever_the_umask(tmp_path: Path) -> None:
    """Those above the keys, the home from before, and everything made after the start."""
    home = tmp_path / "above" / "home"
    before = os.umask(0)
    try:
        load_or_create_secret(home / "keys", "auth")
        modes = [folder.stat().st_mode & 0o777 for folder in (home.parent, home, home / "keys", home / "keys/auth")]
        home.chmod(0o755)
        keep_private(home)
        keep_private(tmp_path / "absent")
        (home / "logs").mkdir()
        (home / "logs" / "file").write_text("")
        modes += [path.stat().st_mode & 0o777 for path in (home, home / "logs", home / "logs" / "file")]
    finally:
        os.umask(before)

    assert modes == [0o700, 0o700, 0o700, 0o600, 0o700, 0o700, 0o600]


def test_crash_while_writing_leaves_no_half_secret(tmp_path: Path) -> None:
    """What a killed process left unfinished is thrown away."""
    (tmp_path / "auth.unfinished").write_bytes(b"half")
    secret = load_or_create_secret(tmp_path, "auth")

    assert len(secret) >= SECRET_BYTES_MIN
    assert [path.name for path in tmp_path.iterdir()] == ["auth"]


def test_cut_file_is_refused_with_its_path(tmp_path: Path) -> None:
    """A file with too few bytes is not used as a key, nor silently replaced."""
    (tmp_path / "auth").write_bytes(b"short")
    with pytest.raises(SecretDamaged) as caught:
        load_or_create_secret(tmp_path, "auth")

    assert caught.value.path == tmp_path / "auth"
    assert "short" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "../auth", "a/b", ".hidden", "A"])
def test_name_that_is_a_path_is_refused(tmp_path: Path, name: str) -> None:
    """A secret's name cannot leave its folder."""
    with pytest.raises(ValueError, match="small letters"):
        load_or_create_secret(tmp_path, name)


def test_processes_that_start_at_once_agree(tmp_path: Path) -> None:
    """Several processes on an empty folder end up with one secret."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", PRINT_SECRET, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    answers = {child.communicate(timeout=20)[0] for child in children}

    assert len(answers) == 1
    assert answers.pop().strip().encode() == load_or_create_secret(tmp_path, "cursor")
