"""Errors of the database, drawn as a tree. Messages hold ClickHouse's own text, never rows.

ClickHouseError               something about the database; `code` is ClickHouse's number, 0 = none
├── ClickHouseUnavailable     not reached, timed out, too busy: the same call may succeed later
├── ClickHouseRefused         it answered, and said no: try something else
│   └── RowsRefused           of an insert, and for what a row of it holds: try the rows apart
├── ResultTooLarge            the answer is larger than this endpoint serves: ask for less
├── DataFolderInUse           another process has the embedded engine's folder open
└── MigrationConflict         the database and the migrations of this version disagree: an operator decides
"""

from __future__ import annotations

__all__ = [
    "ClickHouseError",
    "ClickHouseRefused",
    "ClickHouseUnavailable",
    "DataFolderInUse",
    "MigrationConflict",
    "ResultTooLarge",
    "RowsRefused",
]


class ClickHouseError(Exception):
    """Something about the database went wrong."""

    def __init__(self, message: str, *, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class ClickHouseUnavailable(ClickHouseError):
    """Not reached, timed out or overloaded: whether a write was done is unknown; try again with the same token."""


class ClickHouseRefused(ClickHouseError):
    """The engine refused the statement."""


class RowsRefused(ClickHouseRefused):
    """The engine refused rows for what they hold. Its own text is left out: it may quote them."""


class ResultTooLarge(ClickHouseError):
    """The answer exceeds the endpoint's limit."""


class DataFolderInUse(ClickHouseError):
    """The engine allows one process per data folder. The operator stops the other one, or sets TOKENWIRE_HOME."""


class MigrationConflict(ClickHouseError):
    """Applied migrations were changed, or the database was migrated by a newer version."""
