"""Row S7: the accounts of `infra/deploy/clickhouse/users.xml`, each on the real engine with what the file gives it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from infra.clickhouse.decisions.migration_plan import split_statements
from infra.clickhouse.migrate import CREATE_DATABASE, CREATE_MEMORY, known_migrations
from tests.integration.database_account import ask_as

__all__: list[str] = []

MIGRATIONS: Final = [
    *(CREATE_DATABASE, CREATE_MEMORY),
    *(statement for migration in known_migrations() for statement in split_statements(migration.sql)),
]
ROWS: Final = """
INSERT INTO tokenwire.turn_parts (user, tenant, session, last, texts)
VALUES ('ada', 'acme', 's1', true, ['of acme']), ('gil', 'globex', 's1', true, ['of globex'])"""
OUTSIDE: Final = [
    "SELECT * FROM file('/etc/hostname', 'LineAsString')",
    "SELECT * FROM url('http://127.0.0.1:1/', 'TSV', 'a String')",
    "SELECT name FROM system.users",
    "CREATE USER mallory",
    "CREATE ROW POLICY all_of_it ON tokenwire.turn_parts USING 1 TO default",
]
"""What no account may do."""
CHANGES: Final = ["INSERT INTO tokenwire.turn_parts (user) VALUES ('mallory')", "DROP TABLE tokenwire.turn_parts"]
REFUSED: Final = ("Code: 497.", "Code: 164.", "Code: 115.")
"""ACCESS_DENIED, READONLY, UNKNOWN_SETTING."""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables and rows of two tenants, made by the writer's account as `tokenwire migrate` and the writer do it."""
    folder = tmp_path_factory.mktemp("accounts")
    statements = [*MIGRATIONS, ROWS, *OUTSIDE]
    answers = asked(folder, "tokenwire_writer", statements)
    done, outside = answers[: -len(OUTSIDE)], answers[-len(OUTSIDE) :]
    assert not any(done), done
    assert [answer for answer in outside if not answer.startswith(REFUSED)] == []
    return folder


def asked(folder: Path, account: str, statements: list[str]) -> list[str]:
    """As the account; the embedded engine shows no password, so it has none here."""
    passwords = dict.fromkeys(
        ("CLICKHOUSE_WRITER_PASSWORD", "CLICKHOUSE_ARCHIVE_PASSWORD", "CLICKHOUSE_ANALYST_PASSWORD"), ""
    )
    return ask_as(account, folder, statements, passwords | {"CLICKHOUSE_ANALYST_FILTER": "tenant = 'acme'"})


def test_S7_analyst_sees_the_rows_of_one_tenant(database: Path) -> None:
    """Whatever the query says, through the view or beside it; no setting can be changed, nor anything else."""
    of_acme = [
        "SELECT user FROM tokenwire.turns",
        "SELECT user FROM tokenwire.turn_parts",
        "SELECT user FROM tokenwire.turn_streams WHERE text LIKE '%of%'",
        "SELECT user FROM tokenwire.turns WHERE tenant = 'globex' OR 1",
        "SELECT DISTINCT user FROM (SELECT user FROM tokenwire.turns UNION ALL SELECT user FROM tokenwire.turn_parts)",
    ]
    of_others = [
        "SELECT user FROM tokenwire.turns WHERE tenant = 'globex'",
        "SELECT text FROM tokenwire.turn_streams WHERE user = 'gil' AND session = 's1'",
    ]
    settings = [
        "SELECT user FROM tokenwire.turns SETTINGS max_threads = 1",
        "SELECT user FROM tokenwire.turns SETTINGS additional_table_filters = {'tokenwire.turn_parts': '1'}",
        "SET max_execution_time = 0",
        "SET SQL_tenant = 'globex'",
        "SET readonly = 0",
    ]
    more = ["SELECT * FROM tokenwire.migrations", *CHANGES, *OUTSIDE]
    answers = iter(
        asked(
            database,
            "tokenwire_analyst",
            [*of_acme, *of_others, "SELECT count() FROM tokenwire.turns", *settings, *more],
        )
    )

    assert [next(answers) for _ in of_acme] == ["ada"] * len(of_acme)
    assert [next(answers) for _ in of_others] == [""] * len(of_others)
    assert next(answers) == "1"
    refused = list(answers)
    assert len(refused) == len(settings) + len(more)
    assert [answer for answer in refused if not answer.startswith(REFUSED)] == []


def test_S7_archive_reads_all_rows_and_changes_none(database: Path) -> None:
    """As our clients ask, with a limit of their own; a limit above the account's is refused."""
    statements = [
        "SELECT user FROM tokenwire.turn_parts ORDER BY user SETTINGS readonly = 2, max_execution_time = 5",
        "SELECT user FROM tokenwire.turns SETTINGS max_execution_time = 500",
        "SELECT user FROM tokenwire.turns SETTINGS readonly = 0",
        *CHANGES,
        *OUTSIDE,
    ]
    rows, beyond, *refused = asked(database, "tokenwire_archive", statements)

    assert rows == "ada\ngil"
    assert beyond.startswith("Code: 452.")
    assert [answer for answer in refused if not answer.startswith(REFUSED)] == []
