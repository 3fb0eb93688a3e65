"""The README's questions to ClickHouse, on the real engine (in a process of its own: it holds one folder for good)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.architecture.source_tree import ROOT

ASK = """
import asyncio, json, sys
from pathlib import Path
from infra.clickhouse.connection import ClickHouseConnection
from infra.clickhouse.migrate import migrate
from infra.settings import load_settings

async def main() -> None:
    connection = ClickHouseConnection(load_settings({}, home=Path(sys.argv[1])))
    await connection.open()
    try:
        await migrate(connection)
        await connection.command("USE tokenwire")
        for question in json.loads(sys.argv[2]):
            await connection.query(question)
    finally:
        await connection.close()

asyncio.run(main())
"""


def test_questions_of_the_readme_can_be_asked(tmp_path: Path) -> None:
    """Every SQL block and every quoted query names tables and columns that exist."""
    text = (ROOT / "README.md").read_text() + (ROOT / "tokenwire" / "commands" / "query.py").read_text()
    questions = re.findall(r"```sql\n(.*?)```", text, re.DOTALL) + re.findall(
        r'tokenwire query (?:--json )?"([^"]+)"', text
    )
    asked = subprocess.run(
        [sys.executable, "-c", ASK, str(tmp_path), json.dumps(questions)],
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )

    assert len(questions) >= 5
    assert asked.returncode == 0, asked.stderr[-2_000:]
