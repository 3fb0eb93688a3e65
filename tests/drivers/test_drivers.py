"""Drivers of other languages ask the read-only endpoint, unmodified: `make test-drivers`.

Each is a small program beside this file that asks the same questions with every compression that its driver offers.
They are built of pinned versions, in `.tokenwire/drivers`; where a toolchain is absent, a test is skipped and says so.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from infra.clickhouse.reader_token import reader_token
from infra.embedded import broker_jars
from tests.integration.many_types import many_types
from tests.integration.reader_line import reader_process, writer

__all__: list[str] = []

HERE: Final = Path(__file__).parent
KEPT: Final = HERE.parents[1] / ".tokenwire" / "drivers"
BUILD_S: Final = 900.0
ASK_S: Final = 180.0
NODE_CLIENT: Final = "@clickhouse/client@1.23.1"
SQLALCHEMY: Final = ("clickhouse-sqlalchemy==0.3.2", "sqlalchemy==2.0.58")
JDBC_LIST: Final = HERE / "jdbc.lock"
JDBC_ROOTS: Final = (
    "com.clickhouse:clickhouse-jdbc:0.10.0",
    "org.slf4j:slf4j-nop:2.0.17",
    "at.yawk.lz4:lz4-java:1.11.4",  # newer than the driver asks for, as in the broker's list
)
"""`python -m tests.drivers.test_drivers` makes the list of its jars anew."""

ATTEMPTS: Final = 20
ROWS: Final = 1_000
MANY: Final = 200_000
WRONG: Final = {"SELECT 'open": 62, "SELECT nope": 47, "DROP TABLE turns": 164, "SELECT * FROM nope": 60}
UNREAD: Final = ("no_elements", "pair", "span")
"""Columns that a driver can't read from any server: clickhouse-go the first two, JDBC's `getObject` the third."""
QUESTIONS: Final[dict[str, Any]] = {
    "Count": "SELECT count() FROM turns WHERE user = {user:String}",
    "Row": "SELECT turn, texts, toString(accepted_at), metadata FROM turn_streams WHERE turn = 'ann-t3'",
    "Many": f"SELECT number, toString(number) FROM numbers({MANY})",
    "Types": many_types(ROWS, without=UNREAD),
    "Wrong": list(WRONG),
}
ANSWERS: Final[dict[str, Any]] = {
    "count": ATTEMPTS,
    "row": ["ann-t3", ["piece 0 ", "é\n'\\\t"], "2026-09-21 14:13:20.000004", {}],
    "many": [sum(range(MANY)), sum(len(str(number)) for number in range(MANY))],
    "types": [ROWS, "end"],
    "codes": list(WRONG.values()),
    "stranger": 516,
}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True, slots=True)
class Door:
    """Where to ask, and with what token."""

    port: str
    token: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    home = tmp_path_factory.mktemp("drivers")
    async with writer(home) as written:
        await written.insert("ann", ATTEMPTS)
        await written.tell()
        async with reader_process(home) as reader:
            yield Door(reader.url.rstrip("/").rpartition(":")[2], reader_token(home))


def need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not on this machine")


async def run(argv: list[str], *, folder: Path, deadline_s: float, **environment: str) -> str:
    """What a program that ends well has printed."""
    process = await asyncio.create_subprocess_exec(
        *argv, cwd=folder, env=os.environ | environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        printed, complaints = await asyncio.wait_for(process.communicate(), deadline_s)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, (printed + complaints).decode(errors="replace")[-4_000:]
    return printed.decode()


async def rounds(argv: list[str], *asked: str, door: Door, folder: Path = KEPT) -> dict[str, dict[str, Any]]:
    """What a program found out, by round."""
    printed = await run([*argv, door.port, door.token, *asked], folder=folder, deadline_s=ASK_S)
    said = [json.loads(line) for line in printed.splitlines()]
    return {each.pop("round"): each for each in said}


async def test_clickhouse_go_over_http(door: Door) -> None:
    """Grafana's driver names a protocol version, packs answers, and sends limits above ours."""
    need("go")
    KEPT.mkdir(parents=True, exist_ok=True)
    caches = {"GOMODCACHE": str(KEPT / "go-modules"), "GOCACHE": str(KEPT / "go-build"), "GOFLAGS": "-modcacherw"}
    program = str(KEPT / "ask-clickhouse-go")
    await run(["go", "build", "-o", program, "ask_clickhouse.go"], folder=HERE, deadline_s=BUILD_S, **caches)

    found = await rounds([program], json.dumps(QUESTIONS), door=door)

    assert found == dict.fromkeys(("none", "lz4", "zstd", "gzip", "br"), ANSWERS)


async def test_jdbc_with_defaults(door: Door) -> None:
    """Java's driver takes packed answers by default."""
    need("java", "javac")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(broker_jars, "LOCK_LIST", JDBC_LIST)
        jars = await broker_jars.resolve_broker_jars_async(KEPT / "jars")
    asked = QUESTIONS["Count"].replace("{user:String}", "?"), QUESTIONS["Row"], QUESTIONS["Many"], QUESTIONS["Types"]
    class_path = broker_jars.class_path_of([jar.absolute() for jar in jars])

    found = await rounds(["java", "-cp", class_path, str(HERE / "AskClickHouse.java")], *asked, *WRONG, door=door)

    assert found == dict.fromkeys(("defaults", "no compression", "HTTP compression"), ANSWERS)


async def test_clickhouse_client_of_node(door: Door) -> None:
    """JavaScript's client, with and without gzip."""
    need("node", "npm")
    folder = KEPT / "node"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text("{}\n")
    program = shutil.copy(HERE / "ask_clickhouse.mjs", folder)
    install = ["npm", "install", "--no-save", "--no-audit", "--no-fund", "--no-package-lock", NODE_CLIENT]
    await run(install, folder=folder, deadline_s=BUILD_S)

    found = await rounds(["node", str(program)], json.dumps(QUESTIONS), door=door, folder=folder)

    assert found == dict.fromkeys(("plain", "gzip", "gzip both ways"), ANSWERS)


async def test_clickhouse_sqlalchemy(door: Door) -> None:
    """SQLAlchemy's dialect over HTTP, as dashboards in Python use it."""
    python = KEPT / "python" / "bin" / "python"
    if not python.exists():
        await run([sys.executable, "-m", "venv", str(KEPT / "python")], folder=HERE, deadline_s=BUILD_S)
    await run([str(python), "-m", "pip", "install", "-q", *SQLALCHEMY], folder=HERE, deadline_s=BUILD_S)
    asked = QUESTIONS | {"Count": QUESTIONS["Count"].replace("{user:String}", ":user")}

    found = await rounds([str(python), str(HERE / "ask_sqlalchemy.py")], json.dumps(asked), door=door)

    as_text = ["ann-t3", "['piece 0 ','é\n'\\\t']", "2026-09-21 14:13:20.000004", "{}"]  # what it makes of plain SQL
    assert found == {"defaults": ANSWERS | {"row": as_text}}


def main() -> None:
    broker_jars.write_list(
        KEPT / "jars", JDBC_LIST, roots=JDBC_ROOTS[:1], raw_roots=JDBC_ROOTS[1:], maker=f"python -m {__spec__.name}"
    )
    JDBC_LIST.write_text(JDBC_LIST.read_text().replace("The broker's jars", "The JDBC driver's jars"))


if __name__ == "__main__":
    main()
