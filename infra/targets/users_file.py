"""The users file: which tier and tenant each user has, whatever a producer writes.

Comma-separated values in UTF-8 with a first line that names the columns: `user`, `tier` and, where there are tenants,
`tenant`. Not a table of `tokenwire.toml`: it has a line for each user, comes out of a database as it is, and changes
when nothing else does. It is read whole or refused whole, with the first FAULTS_MAX faults by their lines.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from infra.targets.file_tables import Findings, read_text
from infra.targets.file_values import did_you_mean, shown
from schemas.errors import InvalidField
from schemas.identifiers import check_tenant_id, check_user_id
from schemas.tiers import Standing

__all__ = ["FAULTS_MAX", "USERS_MAX", "read_users"]

USERS_BYTES_MAX: Final = 67_108_864
USERS_MAX: Final = 1_000_000
FAULTS_MAX: Final = 20
REQUIRED: Final = ("user", "tier")
COLUMNS: Final = (*REQUIRED, "tenant")


def read_users(path: Path, tiers: Collection[str], findings: Findings) -> dict[str, Standing]:
    """The users of a file, by their ids. Faults go to `findings`, each with the file's own name."""
    own = Findings(str(path))
    remedy = "mend that, or name another with users"
    text = read_text(path, own, what="the users file", remedy=remedy, bytes_max=USERS_BYTES_MAX, encoding="utf-8-sig")
    users = dict(checked_lines(text, tiers, own)) if text is not None else {}
    findings.faults += own.faults[:FAULTS_MAX]
    if len(own.faults) > FAULTS_MAX:
        findings.fault(f"{path}", f"has {len(own.faults) - FAULTS_MAX} more faults", "mend the first ones, then see")
    return users


def checked_lines(text: str, tiers: Collection[str], findings: Findings) -> Iterator[tuple[str, Standing]]:
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = next(lines, [])
        if not columns_are_known(columns, findings):
            return
        seen: set[str] = set()
        for values in lines:
            place = f"line {lines.line_num}"
            if not values:
                continue
            if len(values) != len(columns):
                findings.fault(place, f"has {len(values)} values", f"write {len(columns)}: {', '.join(columns)}")
                continue
            line = dict(zip(columns, values, strict=True))
            if is_sound(line, place, tiers, seen, findings):
                seen.add(line["user"])
                yield line["user"], Standing(line["tier"], line.get("tenant", ""))
            if len(seen) > USERS_MAX:
                findings.fault("the users file", f"lists more than {USERS_MAX} users", "keep to those who are active")
                return
    except csv.Error as error:
        findings.fault(f"line {lines.line_num}", f"is no comma-separated line: {error}", "mend that place")


def columns_are_known(columns: list[str], findings: Findings) -> bool:
    before = len(findings.faults)
    for column in dict.fromkeys(columns):
        if column not in COLUMNS:
            findings.fault(f"line 1: column {shown(column)}", "is unknown", did_you_mean(column, COLUMNS))
        elif columns.count(column) > 1:
            findings.fault(f"line 1: column {column}", "is there twice", "take one of them out")
    missing = [column for column in REQUIRED if column not in columns]
    if missing and len(findings.faults) == before:
        findings.fault("line 1", f"names no column {' and '.join(missing)}", f"begin with {','.join(COLUMNS)}")
    return len(findings.faults) == before


def is_sound(line: dict[str, str], place: str, tiers: Collection[str], seen: set[str], findings: Findings) -> bool:
    try:
        user = check_user_id(line["user"])
        if line.get("tenant"):
            check_tenant_id(line["tenant"])
    except InvalidField as error:
        findings.fault(place, f"{error.field} {error.problem}", error.remedy)
        return False
    if user in seen:
        findings.fault(place, f"names the user {shown(user)} again", "keep one of the lines")
    elif line["tier"] not in tiers:
        tier = line["tier"]
        findings.fault(place, f"names the tier {shown(tier)}, which is not there", did_you_mean(tier, tiers))
    else:
        return True
    return False
