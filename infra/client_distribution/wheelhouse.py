"""A folder with the wheels that the light client asks for without its extra, at the versions of the lock."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Final

from infra.client_distribution.source_tree import ROOT, name_of, requirements

__all__ = ["fill_wheelhouse", "locked_entries", "needed_names"]

DOWNLOAD_S_MAX: Final = 300
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
ENTRY: Final = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==.*?(?=^[A-Za-z0-9]|\Z)", re.MULTILINE | re.DOTALL)


def fill_wheelhouse(folder: Path) -> None:
    """Download into the folder; what is there already is kept. Raises CalledProcessError."""
    base, _ = requirements()
    entries = locked_entries((ROOT / "requirements.lock").read_text(), needed_names(base))
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as wanted:
        wanted.write("\n".join(entries))
        wanted.flush()
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--quiet"]
        command += ["--require-hashes", "--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
        subprocess.run(
            [*command, "--requirement", wanted.name], check=True, capture_output=True, text=True, timeout=DOWNLOAD_S_MAX
        )


def needed_names(wanted: Iterable[str]) -> set[str]:
    """The distributions that these requirements bring, by what is installed here."""
    names: set[str] = set()
    waiting = [name_of(requirement) for requirement in wanted]
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in names:
            continue
        try:
            further = requires(name) or []
        except PackageNotFoundError:  # asked for on other systems or Pythons only
            continue
        names.add(name)
        for requirement in further:
            found = NAME.match(requirement)
            if found is not None and "extra ==" not in requirement:
                waiting.append(found[0])
    return names


def locked_entries(lock: str, names: set[str]) -> list[str]:
    """The lock's entries of these distributions, hashes included."""
    return [found[0] for found in ENTRY.finditer(lock) if found["name"].lower() in names]
