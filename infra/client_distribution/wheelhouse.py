"""A folder with the wheels that the light client asks for without its extra, at the versions of the lock."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib.metadata import requires
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infra.client_distribution.source_tree import ROOT, requirements

__all__ = ["fill_wheelhouse", "locked_entries", "needed_names"]

DOWNLOAD_S_MAX: Final = 300
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
    waiting = [Requirement(entry) for entry in wanted]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name not in names and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            names.add(name)
            waiting += map(Requirement, requires(name) or ())
    return names


def locked_entries(lock: str, names: set[str]) -> list[str]:
    """The lock's entries of these distributions, hashes included."""
    return [found[0] for found in ENTRY.finditer(lock) if found["name"].lower() in names]
