"""Which migrations are due, from what the code brings and what the database remembers.

A migration that was applied never changes: its checksum is kept. A database that knows a migration which the code
does not was migrated by a newer version; writing to it could destroy what that version keeps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = [
    "DATABASE",
    "AppliedMigration",
    "Conflict",
    "Due",
    "Migration",
    "MigrationPlan",
    "plan_migrations",
    "split_statements",
]

DATABASE: Final = "tokenwire"
"""Where the tables are."""


@dataclass(frozen=True, slots=True)
class Migration:
    """A numbered file of SQL."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class AppliedMigration:
    """What the database remembers of a migration."""

    name: str
    checksum: str


@dataclass(frozen=True, slots=True)
class Due:
    """These are to be applied, in this order; none = up to date."""

    migrations: tuple[Migration, ...]


@dataclass(frozen=True, slots=True)
class Conflict:
    """Nothing may be applied; `problem` is a sentence for the operator."""

    problem: str


MigrationPlan = Due | Conflict


def plan_migrations(known: Sequence[Migration], applied: Mapping[int, AppliedMigration]) -> MigrationPlan:
    """Compare the code's migrations with the applied ones."""
    by_number = {migration.number: migration for migration in known}
    newer = sorted(number for number in applied if number not in by_number)
    if newer:
        names = ", ".join(applied[number].name for number in newer)
        return Conflict(f"The database was migrated by a newer version of Tokenwire ({names}); upgrade this one.")
    for number, memory in sorted(applied.items()):
        if by_number[number].checksum != memory.checksum:
            return Conflict(
                f"Migration {memory.name} was changed after it was applied; restore the file and add a new migration."
            )
    latest = max(applied, default=0)
    due = sorted((migration for migration in known if migration.number not in applied), key=lambda each: each.number)
    if due and due[0].number < latest:
        return Conflict(f"Migration {due[0].name} has a lower number than {applied[latest].name}, which is applied.")
    return Due(tuple(due))


def split_statements(sql: str) -> list[str]:
    """The statements of a file: each ends with a semicolon at the end of a line; comment lines are left out."""
    lines = [line for line in sql.splitlines() if not line.lstrip().startswith("--")]
    pieces = "\n".join(lines).split(";\n") if lines else []
    statements = [piece.strip().rstrip(";").strip() for piece in pieces]
    return [statement for statement in statements if statement]
