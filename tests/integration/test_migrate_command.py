"""`tokenwire migrate` as it is typed for a cluster, once for each version: on a real broker and the real engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from infra.clickhouse.migrate import known_migrations
from infra.embedded.broker import EmbeddedBroker
from infra.settings import load_settings

__all__: list[str] = []

PREFIX: Final = "migrated"
COMMAND_S: Final = 60.0


def test_topics_and_tables_are_made_once(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Topics alone where the database is left alone, then the tables as well; running it again changes nothing."""
    topics = [spec.name for spec in load_settings({}, topic_prefix=PREFIX).fixed_topics]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TOKENWIRE_")}
    line = {"KAFKA": broker.bootstrap_servers, "TOPIC_PREFIX": PREFIX, "HOME": str(tmp_path / "home")}

    def told(*options: str) -> str:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "tokenwire", "migrate", *options],
            cwd=tmp_path,
            env=clean | {f"TOKENWIRE_{name}": value for name, value in line.items()},
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_S,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert json.loads(told("--topics-only", "--json")) == {"topics": topics, "migrations_applied": []}
    first = json.loads(told("--json"))
    assert first == {"topics": topics, "migrations_applied": [each.name for each in known_migrations()]}
    assert told().splitlines() == [
        f"{len(topics)} topics are there: {', '.join(topics)}",
        "Applied to the database: nothing, it is up to date",
    ]
