"""What is locked here against published advisories: `make audit`.

Every wheel of the three requirement locks and every jar of the lists is compared with
`tests/data/advisories.json`, which names for each advisory where its range of versions was read. That file holds what
its keepers looked up, so it must be looked through again: the command fails once that is 30 days ago. Where pip-audit
is installed and its service answers, wheels are asked about there as well.

`accepted` in that file names what stays as it is, and why; an entry that accepts nothing is a fault.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from jgo.maven import version_in_range
from packaging.specifiers import SpecifierSet

__all__ = ["ADVISORIES", "LOCKS", "Pin", "age_fault", "faults_of", "main", "read_pins"]

ROOT: Final = Path(__file__).parents[1]
ADVISORIES: Final = ROOT / "tests" / "data" / "advisories.json"
WHEEL_LOCKS: Final = ("requirements.lock", "infra/deploy/requirements.lock", "infra/deploy/build-requirements.lock")
JAR_LISTS: Final = (
    "infra/embedded/broker_jars.lock",
    "tests/drivers/jdbc.lock",
    *(
        f"tests/integration/broker_releases/{list_.name}"
        for list_ in (ROOT / "tests/integration/broker_releases").glob("*.lock")
    ),
)
LOCKS: Final = (*WHEEL_LOCKS, *JAR_LISTS)
AGE_DAYS_MAX: Final = 30
SERVICE_S_MAX: Final = 300
WHEEL: Final = re.compile(r"([A-Za-z0-9][\w.-]*)==([^ ;\\]+)")
JAR: Final = re.compile(r"([\w.-]+:[\w.-]+):([\w.-]+) ")


@dataclass(frozen=True, slots=True)
class Pin:
    """One line of a lock."""

    lock: str
    ecosystem: str
    package: str
    version: str


def read_pins(lock: str, root: Path = ROOT) -> list[Pin]:
    """What a lock, named from the root on, pins."""
    ecosystem, form = ("PyPI", WHEEL) if lock in WHEEL_LOCKS else ("Maven", JAR)
    found = (form.match(line) for line in (root / lock).read_text().splitlines())
    return [Pin(lock, ecosystem, match[1], match[2]) for match in found if match]


def faults_of(pins: Iterable[Pin], known: Mapping[str, Any]) -> list[str]:
    """A sentence for each pin that an advisory covers and nobody accepted, and each acceptance without one."""
    accepted = {(entry["list"], package) for entry in known["accepted"] for package in entry["packages"]}
    faults, met = [], set()
    for pin in pins:
        for advisory in known["advisories"]:
            if covers(advisory, pin):
                met.add((pin.lock, pin.package))
                if (pin.lock, pin.package) not in accepted:
                    faults.append(
                        f"{pin.lock}: {pin.package} {pin.version} is covered by {advisory['id']} ({advisory['source']})"
                    )
    return faults + [
        f"{lock}: {package} is accepted without an advisory that covers it" for lock, package in sorted(accepted - met)
    ]


def covers(advisory: Mapping[str, Any], pin: Pin) -> bool:
    if (advisory["ecosystem"], advisory["package"]) != (pin.ecosystem, pin.package):
        return False
    if pin.ecosystem == "Maven":
        return any(version_in_range(pin.version, versions) for versions in advisory["vulnerable"])
    return any(SpecifierSet(versions).contains(pin.version, prereleases=True) for versions in advisory["vulnerable"])


def age_fault(known: Mapping[str, Any], today: date) -> str | None:
    """What to do where nobody has looked for new advisories for too long."""
    days = (today - date.fromisoformat(known["checked_on"])).days
    if days <= AGE_DAYS_MAX:
        return None
    return (
        f"Nobody has looked for advisories for {days} days: look up what was published since {known['checked_on']} "
        f"for the packages that are locked, add it to "
        f"{ADVISORIES.relative_to(ROOT)} with its source, and set checked_on to today."
    )


def asked_faults(locks: Sequence[str] = WHEEL_LOCKS) -> list[str] | None:
    """What pip-audit's service says of the wheels; None: pip-audit is not installed, or its service did not answer."""
    if (program := shutil.which("pip-audit")) is None:
        return None
    faults = []
    for lock in locks:
        options = (
            "--require-hashes",
            "--disable-pip",
            "--vulnerability-service=osv",
            "--format=json",
            "--progress-spinner=off",
        )
        try:
            answer = subprocess.run(
                [program, f"--requirement={ROOT / lock}", *options],
                capture_output=True,
                check=False,
                timeout=SERVICE_S_MAX,
            )
            packages = json.loads(answer.stdout)["dependencies"]
        except (subprocess.TimeoutExpired, ValueError):  # without an answer it prints no JSON
            return None
        faults += [
            f"{lock}: {package['name']} {package['version']} is covered by {found['id']}"
            for package in packages
            for found in package.get("vulns", ())
        ]
    return faults


def main() -> int:
    """Compare, say what was found; an exit code."""
    known = json.loads(ADVISORIES.read_text())
    pins = [pin for lock in LOCKS for pin in read_pins(lock)]
    faults = faults_of(pins, known)
    if (old := age_fault(known, datetime.now(UTC).date())) is not None:
        faults.append(old)
    asked = asked_faults()
    faults += asked or []
    service = "no service was asked" if asked is None else "pip-audit's service was asked about the wheels"
    compared = f"{len(pins)} pins of {len(LOCKS)} locks, {len(known['advisories'])} advisories of {known['checked_on']}"
    sys.stdout.write("".join(f"{fault}\n" for fault in faults))
    sys.stdout.write(f"{compared}, {service}: {f'{len(faults)} faults' if faults else 'nothing found'}\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
