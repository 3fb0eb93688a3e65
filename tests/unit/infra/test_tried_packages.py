"""Packages whose internals are used are at the versions that were tried."""

from __future__ import annotations

import tomllib

import pytest

from infra import tried_packages
from infra.client_distribution.source_tree import ROOT, requirements
from infra.tried_packages import USED_INSIDE, OtherVersion, other_versions, require_tried_packages

DEPENDENCIES = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
TRIED = {"aiokafka": "0.14.0", "faust-streaming": "0.15.3", "websockets": "17.4"}


def test_each_is_pinned() -> None:
    """To one version; the light client, which uses no internals, leaves its users room."""
    pins = dict(entry.split("==") for entry in DEPENDENCIES if "==" in entry)

    assert set(USED_INSIDE) <= pins.keys()
    assert not [entry for part in requirements() for entry in part if "==" in entry]


def test_these_are_installed() -> None:
    """Here, by the lock."""
    require_tried_packages()


@pytest.mark.parametrize("name", USED_INSIDE)
def test_another_version_is_named_with_the_right_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Newer or older; what is not on the list may be anything."""
    found = {**TRIED, name: "99.1", "click": "1"}
    monkeypatch.setattr(tried_packages, "version", found.__getitem__)
    monkeypatch.setattr(tried_packages, "requires", lambda _: [*DEPENDENCIES, "click==8"])
    with pytest.raises(OtherVersion, match=rf"Install {name}==\S+ \(not 99\.1\)\.$"):
        require_tried_packages()


def test_requirements_are_read_as_they_are_written() -> None:
    """With extras and markers."""
    pins = ["aiokafka[lz4]==0.14.0 ; python_version >= '3.11'", "websockets == 17.4", "faust-streaming>=0.15"]
    assert other_versions(pins, lambda _: "1") == ["aiokafka==0.14.0 (not 1)", "websockets==17.4 (not 1)"]
