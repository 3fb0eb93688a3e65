"""The JavaScript client as a package: whole, typed, and nothing of the page in it."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import tomllib
from pathlib import Path

import pytest

from gateway.process.page_files import WEB_FOLDER, load_page_files

ROOT = Path(__file__).parents[4]
PACKAGE = json.loads((WEB_FOLDER / "package.json").read_text())
CLIENT = (WEB_FOLDER / "tokenwire_client.js").read_text()
TYPES = (WEB_FOLDER / "tokenwire_client.d.ts").read_text()


def imported(name: str, seen: set[str] | None = None) -> set[str]:
    """A module and all that it imports."""
    seen = set() if seen is None else seen
    if name not in seen:
        seen.add(name)
        for other in re.findall(r'from "\./([a-z_]+\.js)"', (WEB_FOLDER / name).read_text()):
            imported(other, seen)
    return seen


def test_holds_what_the_client_imports_and_its_types() -> None:
    """No less, or it breaks; no more, or the page's own modules become somebody's interface."""
    types = {"messages.d.ts", "tokenwire_client.d.ts"}

    assert set(PACKAGE["files"]) == imported("tokenwire_client.js") | types


def test_version_and_licence_are_the_projects() -> None:
    """They are released together."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert (PACKAGE["version"], PACKAGE["license"]) == (project["version"], project["license"])
    assert "dependencies" not in PACKAGE


def test_everything_public_is_typed() -> None:
    """Exports, and methods of the class."""
    exported = set(re.findall(r"^export (?:const|class) (\w+)", CLIENT, re.MULTILINE))
    methods = set(re.findall(r"^  (?!get |if|for|constructor)([a-z]\w+)\(.*\) \{$", CLIENT, re.MULTILINE))

    assert {"connect", "prompt", "cancel", "attach"} <= methods
    assert exported <= set(re.findall(r"^export (?:const|class) (\w+)", TYPES, re.MULTILINE))
    assert methods <= set(re.findall(r"^  (\w+)\(", TYPES, re.MULTILINE))


def test_page_does_not_serve_the_package() -> None:
    """Its files are for those who install it."""
    served = load_page_files()

    assert "/web/tokenwire_client.js" in served
    assert not [path for path in served if path.endswith((".d.ts", ".json", ".tgz", ".md", "/LICENSE"))]


@pytest.mark.skipif(shutil.which("npm") is None, reason="no npm on this machine")
async def test_npm_packs_exactly_that(tmp_path: Path) -> None:
    """As `make pack-js` does."""
    process = await asyncio.create_subprocess_exec(
        "npm",
        *("pack", "--dry-run", "--json", "--offline", f"--cache={tmp_path}"),
        cwd=WEB_FOLDER,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    packed = {file["path"] for file in json.loads(output)[0]["files"]}

    assert packed == {*PACKAGE["files"], "package.json", "README.md", "LICENSE"}
    assert (WEB_FOLDER / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
