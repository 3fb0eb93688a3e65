"""The wheel: what is inside, who owns each top-level name, and that the command works from it alone."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.architecture.source_tree import PACKAGES, ROOT, tracked_files

__all__: list[str] = []

DATA_SUFFIXES = {
    *(".sql", ".html", ".css", ".js", ".mjs", ".svg", ".json", ".lock", ".properties", ".ico", ".webmanifest", ".txt"),
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by the project's own backend, without a network."""
    out = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert built.returncode == 0, built.stdout[-2_000:] + built.stderr[-2_000:]
    (path,) = out.glob("*.whl")
    return path


def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_each_top_level_name_is_ours_alone(wheel: Path) -> None:
    """The wheel holds the import packages and nothing else, and no other distribution brings one of the names."""
    names = {name.split("/")[0] for name in contents(wheel)}
    packages = {name for name in names if not name.endswith(".dist-info")}

    assert {"tests", "benchmarks", "docs"}.isdisjoint(packages)
    assert packages <= set(PACKAGES)
    owners = importlib.metadata.packages_distributions()
    for package in packages:
        assert set(owners.get(package, ["tokenwire"])) == {"tokenwire"}, f"{package} also belongs to {owners[package]}"


def test_every_tracked_file_of_the_packages_is_inside(wheel: Path) -> None:
    """Sources, SQL, the page, JSON Schema: what the packages need at run time travels with them."""
    inside = contents(wheel)
    expected = {path.as_posix() for path in tracked_files() if path.parts[0] in PACKAGES}
    data = {name for name in expected if Path(name).suffix in DATA_SUFFIXES}

    assert expected <= inside
    assert {name for name in data if name.startswith("schemas/json_schema/")}


def test_nothing_untracked_slips_in(wheel: Path) -> None:
    """No cache, log or key of the machine that built it."""
    expected = {path.as_posix() for path in tracked_files()}
    extra = {name for name in contents(wheel) if ".dist-info/" not in name} - expected

    assert extra == set()


def test_command_works_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    """`tokenwire --help` runs from an unpacked wheel, away from the checkout."""
    if not (ROOT / "tokenwire" / "command_line.py").exists():
        pytest.skip("tokenwire/command_line.py is not there yet")
    target = tmp_path / "target"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    program = (
        "import sys; sys.path[:] = [p for p in sys.path if p != sys.argv[1]]; sys.path.insert(0, sys.argv[2])\n"
        "import tokenwire.command_line as command_line\n"
        "assert command_line.__file__.startswith(sys.argv[2]), command_line.__file__\n"
        "sys.argv = ['tokenwire', '--help']\n"
        "command_line.main()\n"
    )
    shown = subprocess.run(
        [sys.executable, "-c", program, str(ROOT), str(target)],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert shown.returncode == 0, shown.stderr[-2_000:]
    assert "up" in shown.stdout


def test_version_is_said_in_one_place() -> None:
    """What the installed distribution says is what pyproject.toml says."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert importlib.metadata.version("tokenwire") == project["version"]


@pytest.mark.parametrize(
    ("file", "entries_min"),
    [
        ("requirements.lock", 80),
        ("infra/deploy/requirements.lock", 50),
        ("infra/deploy/build-requirements.lock", 8),
    ],
)
def test_lock_is_hashed_and_names_no_host(file: str, entries_min: int) -> None:
    """Every requirement of the lock has hashes, and where it comes from is left to whoever installs it."""
    lock = (ROOT / file).read_text()
    entries = [
        entry for entry in lock.replace("\\\n", " ").splitlines() if entry and not entry.lstrip().startswith("#")
    ]

    assert len(entries) > entries_min
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in lock
