"""The embedded engine as one account of `infra/deploy/clickhouse/users.xml`, in a process of its own.

The engine knows one user, `default`, so the account's own element is given that name: its grants, profile and row
filter are the file's. `python -m tests.integration.database_account FOLDER ACCOUNT` reads statements from standard
input, as a JSON list, and writes for each what came back, or the error.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final
from urllib.parse import urlencode
from xml.etree import ElementTree

__all__ = ["ask_as"]

USERS: Final = Path(__file__).parents[2] / "infra" / "deploy" / "clickhouse" / "users.xml"
ASK_S: Final = 120
DEFAULTS: Final = "<clickhouse><profiles><default/></profiles><quotas><default/></quotas></clickhouse>"


def ask_as(account: str, folder: Path, statements: list[str], variables: dict[str, str]) -> list[str]:
    """What the engine answers to these statements, in order; an error begins with `Code: `."""
    answered = subprocess.run(
        [sys.executable, "-m", __name__, str(folder), account],
        input=json.dumps(statements),
        env=dict(os.environ) | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=ASK_S,
    )
    assert answered.returncode == 0, answered.stderr[-2_000:]
    answers: list[str] = json.loads(answered.stdout)
    return answers


def users_as(account: str) -> ElementTree.Element:
    root = ElementTree.parse(USERS).getroot()
    users = root.find("users")
    assert users is not None
    for user in list(users):
        if user.tag == account:
            user.tag = "default"
        else:
            users.remove(user)
    for section in ElementTree.fromstring(DEFAULTS):
        found = root.find(section.tag)
        (root.append(section) if found is None else found.extend(section))
    return root


def answer_to(session: object, statement: str) -> str:
    try:
        return str(session.query(statement, "TabSeparated")).strip()  # type: ignore[attr-defined]  # chDB has no types
    except RuntimeError as error:
        return str(error)


def main(folder: Path, account: str) -> None:
    """Answer what standard input asks."""
    from infra.clickhouse.embedded_reader import chdb_connect

    config = folder / f"{account}.xml"
    users = folder / f"{account}-users.xml"
    ElementTree.ElementTree(users_as(account)).write(users)
    config.write_text(f"<clickhouse><users_config>{users}</users_config></clickhouse>")
    options = urlencode({"config-file": str(config)}, safe="/")
    session = chdb_connect(f"{folder / 'data'}?{options}")
    answers = [answer_to(session, statement) for statement in json.load(sys.stdin)]
    session.close()
    sys.stdout.write(json.dumps(answers))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
