"""Asks the questions of test_drivers.py with clickhouse-sqlalchemy, in its own environment; prints a line of JSON."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from sqlalchemy import MetaData, Table, create_engine, text  # type: ignore[import-not-found]  # of its environment

__all__: list[str] = []


def code_of(engine: Any, sql: str) -> int:
    try:
        with engine.connect() as connection:
            connection.execute(text(sql)).fetchall()
    except Exception as error:  # noqa: BLE001 - whatever this driver raises, its text holds the code
        found = re.search(r"Code: (\d+)", str(error))
        return int(found[1]) if found else -1
    return -1


def main(port: str, token: str, asked: str) -> None:
    ask = json.loads(asked)
    engine = create_engine(f"clickhouse+http://default:{token}@127.0.0.1:{port}/tokenwire")
    with engine.connect() as connection:
        many = connection.execute(text(ask["Many"])).fetchall()
        types = connection.execute(text(ask["Types"])).fetchall()
        row = connection.execute(text(ask["Row"])).fetchone()
        said = {
            "round": "defaults",
            "count": connection.execute(text(ask["Count"]), {"user": "ann"}).scalar(),
            "row": list(row),
            "many": [sum(number for number, _ in many), sum(len(words) for _, words in many)],
            "types": [len(types), types[-1][-1]],
            "codes": [code_of(engine, wrong) for wrong in ask["Wrong"]],
        }
    assert "accepted_at" in Table("turns", MetaData(), autoload_with=engine).columns
    stranger = create_engine(f"clickhouse+http://default:another@127.0.0.1:{port}/tokenwire")
    said["stranger"] = code_of(stranger, "SELECT 1")
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
