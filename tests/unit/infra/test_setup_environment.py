"""The set-up's sentences; what it installs is tried by `make setup` itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from infra import setup_environment
from infra.setup_environment import ROOT, Setup, SetupFailed, require_disk_space, require_python


def test_python_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence has the version found, the one needed and how to name another."""
    monkeypatch.setattr(sys, "version_info", (3, 9, 18))
    with pytest.raises(SetupFailed, match=r"needs Python 3\.11 or newer; .* is 3\.9\.18.*make setup PYTHON="):
        require_python()


def test_debian_without_its_venv_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence names the package."""
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    with pytest.raises(SetupFailed, match="apt-get install python3-venv"):
        require_python()


def test_disk_is_too_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence has both figures."""
    monkeypatch.setattr(setup_environment, "DISK_FREE_BYTES_MIN", 1_000_000 * 1024**3)
    with pytest.raises(SetupFailed, match=r"GB are free for .*; 1000000 GB are needed"):
        require_disk_space(tmp_path / "not" / "there")


def test_folder_is_no_environment(tmp_path: Path) -> None:
    """What is in it is left alone."""
    (tmp_path / "precious").touch()
    with pytest.raises(SetupFailed, match="is no virtual environment"):
        Setup(tmp_path).create_environment()

    assert (tmp_path / "precious").exists()


def test_step_was_done_before(tmp_path: Path) -> None:
    """It is done again only if what it is made from has changed, or the environment is gone."""
    done: list[str] = []
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    for made_from in ("one", "one", "two"):
        setup = Setup(tmp_path)
        setup.step("thing", made_from, "Making the thing", lambda made_from=made_from: done.append(made_from))  # type: ignore[misc]
    (tmp_path / "bin" / "python").unlink()
    Setup(tmp_path).step("thing", "two", "Making the thing", lambda: done.append("again"))

    assert done == ["one", "two", "again"]


def test_command_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of its output is shown, all of it is in the log."""
    monkeypatch.setenv("TOKENWIRE_HOME", str(tmp_path / "home"))
    script = "print('first words'); print('x\\n' * 100); print('last words'); raise SystemExit(1)"
    with pytest.raises(SetupFailed, match=r"(?s)last words.*It did not work\. All of it is in") as caught:
        Setup(tmp_path).call([sys.executable, "-c", script], "It did not work.")

    assert "first words" not in str(caught.value)
    assert "first words" in (tmp_path / "home" / "logs" / "setup.log").read_text()


def test_run_as_a_script_without_site_packages() -> None:
    """It needs nothing but the standard library."""
    script = ROOT / "infra" / "setup_environment.py"
    command = [sys.executable, "-I", "-S", str(script), "--help"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)

    assert finished.returncode == 0
    assert "--venv" in finished.stdout


def test_home_was_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only a test needs can't be fetched, and nothing else is held up by that."""
    monkeypatch.setenv("TOKENWIRE_HOME", str(tmp_path / "gone"))
    setup = Setup(tmp_path / "venv")
    setup.python = Path("/bin/false")
    setup.fill_wheelhouse()

    assert "wheelhouse" not in setup.state
    assert setup.log_file.exists()
