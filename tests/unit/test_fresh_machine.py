"""`make test-fresh`: when it is skipped, what it takes for a mirror, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.source_tree import ROOT
from tests.fresh_machine.__main__ import BareDebian, Failed, Skipped, mirror_among

COMMAND = [sys.executable, "-m", "tests.fresh_machine"]


@pytest.mark.parametrize(
    ("sources", "mirror"),
    [
        (["http://one.example/debian/", "http://one.example/debian-security/"], "http://one.example/debian"),
        (["http://two.example/debian-security", "https://two.example/pool/debian"], "https://two.example/pool/debian"),
        (["cdrom:[Debian]/debian/", "http://three.example/debian/"], "http://three.example/debian"),
    ],
)
def test_the_mirror_is_the_archive_itself(sources: list[str], mirror: str) -> None:
    """Of apt's sources, the first that holds whole suites and is reached over HTTP."""
    assert mirror_among(sources) == mirror


@pytest.mark.parametrize("sources", [[], ["http://one.example/ubuntu/"], ["http://one.example/debian-security/"]])
def test_without_a_mirror_it_is_skipped(sources: list[str]) -> None:
    """Ubuntu's archive is no Debian."""
    with pytest.raises(Skipped, match="no mirror of Debian"):
        mirror_among(sources)


def test_where_it_is_not_possible_it_says_why_and_ends_well(tmp_path: Path) -> None:
    """As a plain user, or as root without the tools; nothing is left behind."""
    options = ["--folder", str(tmp_path / "debian")]
    ended = subprocess.run(
        [*COMMAND, *options],
        cwd=ROOT,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("skipped: ")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_something_else_is_refused(tmp_path: Path) -> None:
    """It would be emptied."""
    (tmp_path / "photos").mkdir()
    debian = BareDebian(tmp_path / "photos")

    with pytest.raises(Failed, match="none of mine"), debian.taken():
        pass


def test_a_folder_that_another_run_has_is_refused(tmp_path: Path) -> None:
    """One run at a time in one Debian."""
    debian = BareDebian(tmp_path / "debian")

    with debian.taken(), pytest.raises(Failed, match="Another run"), BareDebian(debian.folder).taken():
        pass


def test_help_says_what_it_does() -> None:
    """With the options."""
    shown = subprocess.run(
        [*COMMAND, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    ).stdout

    assert "bare Debian in a folder" in shown
    assert {"--suite", "--steps", "--packages", "--folder", "--remove"} <= set(shown.replace("[", " ").split())
