"""The broker's start cache as a file; that brokers start from it is tried on one (`test_embedded_broker.py`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.embedded.start_cache import StartCacheNotMade, put_in_place

__all__: list[str] = []


def test_new_cache_replaces_those_of_other_jars(tmp_path: Path) -> None:
    """It is there whole under its name, and what other jars or another Java had is gone."""
    (tmp_path / "start-old.aot").write_bytes(b"old")
    (tmp_path / "kafka.jar").write_bytes(b"jar")
    unfinished = tmp_path / "cache"
    unfinished.write_bytes(b"new")

    placed = put_in_place(unfinished, tmp_path / "start-new.aot")

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "kafka.jar": b"jar",
        "start-new.aot": b"new",
    }
    assert placed == tmp_path / "start-new.aot"


def test_java_that_wrote_none(tmp_path: Path) -> None:
    """It is told, and the cache of before stays."""
    kept = tmp_path / "start-old.aot"
    kept.write_bytes(b"old")

    with pytest.raises(StartCacheNotMade):
        put_in_place(tmp_path / "cache", tmp_path / "start-new.aot")

    assert list(tmp_path.iterdir()) == [kept]
