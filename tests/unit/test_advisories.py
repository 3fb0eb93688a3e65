"""tests/advisories.py: a pin that an advisory covers fails `make audit`. Nothing here uses the network."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.advisories import ADVISORIES, LOCKS, age_fault, faults_of, read_pins

KNOWN: dict[str, Any] = json.loads(ADVISORIES.read_text())


def test_nothing_that_is_locked_is_covered_by_an_advisory() -> None:
    """Or it is accepted with a reason, and each acceptance has its object."""
    pins = [pin for lock in LOCKS for pin in read_pins(lock)]

    assert {pin.lock for pin in pins} == set(LOCKS)
    assert faults_of(pins, KNOWN) == []


@pytest.mark.parametrize(
    ("lock", "line", "advisory"),
    [
        ("requirements.lock", "aiohttp==3.14.3 \\", "PYSEC-2026-4369"),
        ("infra/deploy/requirements.lock", "cryptography==49.0.0 ; sys_platform != 'win32' \\", "CVE-2026-69247"),
        ("infra/deploy/build-requirements.lock", "setuptools==65.5.0 \\", "PYSEC-2022-43012"),
        (
            "infra/embedded/broker_jars.lock",
            "org.apache.logging.log4j:log4j-core:2.25.3 2018402 362b",
            "CVE-2026-34477",
        ),
        (
            "infra/embedded/broker_jars.lock",
            "com.fasterxml.jackson.core:jackson-databind:2.19.2 1 0a",
            "CVE-2026-54515",
        ),
        (
            "tests/integration/broker_releases/kafka-3.9.1.lock",
            "at.yawk.lz4:lz4-java:1.10.1 910232 a5",
            "CVE-2026-106450",
        ),
    ],
)
def test_a_vulnerable_pin_is_found(tmp_path: Path, lock: str, line: str, advisory: str) -> None:
    """In each kind of list, by the advisory's name; the next version without the fault is not."""
    (tmp_path / lock).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / lock).write_text(f"# a comment\n{line}\n    --hash=sha256:00\n")

    faults = faults_of(read_pins(lock, tmp_path), KNOWN | {"accepted": []})

    assert any(fault.startswith(f"{lock}: ") and f"is covered by {advisory} " in fault for fault in faults)


def test_an_acceptance_holds_for_its_list_alone_and_must_have_an_object() -> None:
    """What is fixed since must leave the list of what is accepted."""
    accepted = [{"list": "requirements.lock", "packages": ["aiohttp"], "reason": "…"}]

    assert faults_of([], KNOWN | {"accepted": accepted}) == [
        "requirements.lock: aiohttp is accepted without an advisory that covers it"
    ]


def test_a_list_that_nobody_looked_through_for_a_month_fails() -> None:
    """The sentence says what to do; on the thirtieth day it is good."""
    known = {"checked_on": "2026-11-01"}

    assert age_fault(known, date(2026, 12, 1)) is None
    assert "since 2026-11-01" in (age_fault(known, date(2026, 12, 2)) or "")


def test_each_advisory_says_where_its_range_was_read() -> None:
    """Package, range, identifier, source and date, each once."""
    fields = ("id", "package", "ecosystem", "vulnerable", "source", "date")

    assert all(tuple(entry) == fields and all(entry.values()) for entry in KNOWN["advisories"])
    assert all(
        date.fromisoformat(entry["date"]) <= date.fromisoformat(KNOWN["checked_on"]) for entry in KNOWN["advisories"]
    )
    names = [(entry["id"], entry["package"]) for entry in KNOWN["advisories"]]
    assert len(names) == len(set(names))
