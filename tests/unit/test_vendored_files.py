"""tests/vendored_files.py: what is kept here of other people's packages is what those hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.vendored_files import MANIFESTS, faults_of


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.parent.name)
def test_each_file_is_byte_for_byte_its_packages(manifest: Path) -> None:
    """By the digests of `vendor.json`, which `make vendor` checks against the packages themselves."""
    assert faults_of(manifest) == []


def test_a_file_that_was_changed_left_out_or_added_is_found(tmp_path: Path) -> None:
    """Each of them by name."""
    folder = tmp_path / "vendor"
    shutil.copytree(MANIFESTS[0].parent, folder)
    manifest = folder / "vendor.json"
    (folder / "markdown-it" / "LICENSE.txt").unlink()
    (folder / "extra.js").touch()
    with (folder / "temml" / "temml.min.js").open("a") as script:
        script.write(";")

    assert faults_of(manifest) == [
        "extra.js is in no package of vendor.json",
        "markdown-it/LICENSE.txt is missing: run make vendor",
        "temml/temml.min.js is not what its package holds: run make vendor",
    ]


def test_a_package_without_its_licence_is_found(tmp_path: Path) -> None:
    """Others' work is passed on with their terms."""
    (tmp_path / "vendor.json").write_text(json.dumps([{"name": "bare", "files": []}]))

    assert faults_of(tmp_path / "vendor.json") == ["bare has no licence"]
