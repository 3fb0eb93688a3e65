"""What the readers' engine is told to make of the writer's tables, and what their process may know.

Covers: infra.embedded.decisions.reader_environment.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from infra.clickhouse.decisions.reader_tables import WrittenTable, old_parts_s, reader_statements
from infra.embedded.decisions.reader_environment import reader_environment

__all__: list[str] = []

ENGINE = "MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 100, index_granularity = 8192"
TABLE = WrittenTable("t", f"CREATE TABLE d.t (`a` String) ENGINE = {ENGINE}", ENGINE, "/it's/here/")
VIEW = WrittenTable("a_view", "CREATE VIEW d.a_view AS SELECT * FROM d.t")


def test_tables_keep_their_definition_and_get_the_writers_folder() -> None:
    """Read-only, the writer's own settings left out; views come after the tables that they read."""
    made = reader_statements("d", (VIEW, TABLE))

    assert made[0] == "CREATE DATABASE IF NOT EXISTS d"
    assert made[1].startswith(
        "CREATE OR REPLACE TABLE d.t (`a` String) ENGINE = MergeTree ORDER BY a SETTINGS table_disk"
    )
    assert "readonly = 1, path = '/it\\'s/here/'), refresh_parts_interval = 1" in made[1]
    assert "deduplication" not in made[1]
    assert made[2] == "CREATE OR REPLACE VIEW d.a_view AS SELECT * FROM d.t"


@given(st.floats(0.001, 86_400))
def test_old_parts_outlive_every_query(query_s_max: float) -> None:
    """Also one that began just before the parts were listed anew."""
    assert old_parts_s(query_s_max) > query_s_max + 1


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_environment_is_what_is_on_the_list(foreign: dict[str, str]) -> None:
    """Keys, passwords and everything else that somebody has set stays outside."""
    secrets = {"OPENAI_API_KEY": "k", "TOKENWIRE_AUTH_SECRET": "s", "TOKENWIRE_KAFKA_PASSWORD": "p", "AWS_SECRET": "a"}
    needed = {"PATH": "/bin", "TOKENWIRE_HOME": "h", "PYTHONPATH": "x", "LC_ALL": "C"}

    kept = reader_environment(foreign | secrets | needed)

    assert kept.items() >= needed.items()
    assert not kept.keys() & secrets.keys()
    assert reader_environment(kept) == kept
