"""The source tree of `tokenwire-client`, written from this checkout.

What users import from `tokenwire` they import from `tokenwire_client`: the names are read from the face of Tokenwire.
The modules behind them lie in `tokenwire_client._parts`: a project's own `infra/` or `schemas/` stays its own.
"""

from __future__ import annotations

import ast
import json
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement

from infra.client_distribution.decisions.import_closure import Closure, closure_of, moved

__all__ = [
    "CLIENT",
    "DISTRIBUTION",
    "PublicName",
    "UndeclaredImport",
    "public_names",
    "requirements",
    "write_tree",
]

ROOT: Final = Path(__file__).resolve().parents[2]
CLIENT: Final = "tokenwire_client"
DISTRIBUTION: Final = "tokenwire-client"
PARTS: Final = f"{CLIENT}._parts"
PACKAGES: Final = frozenset({"schemas", "infra", "producers", "processors", "gateway", "tokenwire"})
BASE: Final = {"msgspec": "msgspec", "websockets": "websockets"}
"""What the client imports, and the distribution that brings it."""
KAFKA: Final = {
    "aiokafka": "aiokafka",
    "confluent_kafka": "confluent-kafka",
    "httpx2": "httpx2",
    "pydantic": "pydantic-settings",
    "pydantic_settings": "pydantic-settings",
    "structlog": "structlog",
}
"""What publishing needs besides: the extra `kafka`."""
WHERE_USED: Final = frozenset({"aws_msk_iam_sasl_signer"})
"""Imported only by those who asked for it; its absence is a sentence of its own."""


class UndeclaredImport(Exception):
    """A module of the client imports what the distribution does not ask for; the sentence says what to do."""


@dataclass(frozen=True, slots=True)
class PublicName:
    """A name of the face: what it is called in which module, and whether it needs the extra."""

    name: str
    module: str
    original: str
    needs_kafka: bool


def public_names(root: Path = ROOT) -> tuple[PublicName, ...]:
    """All that `tokenwire` exports, in the order of its file. Raises UndeclaredImport."""
    face = ast.parse((root / "tokenwire" / "__init__.py").read_text())
    found = []
    for block in face.body:
        if isinstance(block, ast.If):  # under TYPE_CHECKING: each name with its home
            for node in block.body:
                if isinstance(node, ast.ImportFrom) and node.module is not None:
                    kafka = needs_kafka(closure(root, [node.module]))
                    found += [PublicName(a.asname or a.name, node.module, a.name, kafka) for a in node.names]
    return tuple(found)


def closure(root: Path, modules: Iterable[str]) -> Closure:
    def text_of(module: str) -> str | None:
        file = file_of(root, module)
        return None if file is None else file.read_text()

    return closure_of(modules, PACKAGES, text_of)


def file_of(root: Path, module: str) -> Path | None:
    base = root.joinpath(*module.split("."))
    for file in (base.with_suffix(".py"), base / "__init__.py"):
        if file.is_file():
            return file
    return None


def needs_kafka(needed: Closure) -> bool:
    foreign = needed.foreign - sys.stdlib_module_names - WHERE_USED
    if unknown := foreign - BASE.keys() - KAFKA.keys():
        raise UndeclaredImport(
            f"The client now imports {', '.join(sorted(unknown))}: say in {Path(__file__).name} which distribution"
            " brings it, or import less."
        )
    return not foreign <= BASE.keys()


def requirements(root: Path = ROOT) -> tuple[list[str], list[str]]:
    """What the distribution asks for, and what its extra `kafka` asks for besides.

    Bounds are Tokenwire's own; what is pinned there for its internals, which the client does not use, may be newer.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    bounds = {Requirement(entry).name: entry.replace("==", "~=") for entry in project["dependencies"]}
    return [bounds[name] for name in sorted(set(BASE.values()))], [bounds[name] for name in sorted(set(KAFKA.values()))]


def write_tree(folder: Path, root: Path = ROOT) -> None:
    """Write what a build of the distribution starts from. Raises UndeclaredImport, UnreadableImport, OSError."""
    names = public_names(root)
    new_names = {package: f"{PARTS}.{package}" for package in PACKAGES}
    parts = folder.joinpath(*PARTS.split("."))
    for module in closure(root, {name.module for name in names}).modules:
        file = file_of(root, module)
        assert file is not None
        target = parts / file.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(moved(file.read_text(), new_names))
    (parts / "__init__.py").write_text('"""Private: modules of Tokenwire, moved here."""\n')
    (folder / CLIENT / "__init__.py").write_text(face_text(names))
    (folder / CLIENT / "py.typed").touch()
    (folder / "README.md").write_text((Path(__file__).parent / "README.md").read_text())
    (folder / "LICENSE").write_text((root / "LICENSE").read_text())
    (folder / "pyproject.toml").write_text(project_text(root))


def face_text(names: tuple[PublicName, ...]) -> str:
    """The client's own `__init__.py`: names of the socket at once, those of Kafka when they are asked for."""
    at_once = [line_of(name) for name in names if not name.needs_kafka]
    later = [name for name in names if name.needs_kafka]
    homes = ",\n".join(f'    "{name.name}": "{PARTS}.{name.module}"' for name in later)
    return FACE.format(
        at_once="\n".join(at_once),
        later="\n".join(f"    {line_of(name)}" for name in later),
        homes=homes,
        exported="\n".join(f'    "{name}",' for name in sorted((*(name.name for name in names), "__version__"))),
        distribution=DISTRIBUTION,
    )


def line_of(name: PublicName) -> str:
    return f"from {PARTS}.{name.module} import {name.original} as {name.name}"


def project_text(root: Path) -> str:
    """The distribution's pyproject.toml."""
    ours = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    base, kafka = requirements(root)
    project: dict[str, Any] = {
        "name": DISTRIBUTION,
        "version": ours["version"],
        "description": "Client for Tokenwire: ask over a websocket, or publish prompts with the extra `kafka`",
        "readme": "README.md",
        "requires-python": ours["requires-python"],
        "license": ours["license"],
        "license-files": ["LICENSE"],
        "dependencies": base,
    }
    lines = ["[project]", *(f"{key} = {json.dumps(value)}" for key, value in project.items())]
    lines += ["", "[project.optional-dependencies]", f"kafka = {json.dumps(kafka)}"]
    lines += ["", "[build-system]", 'requires = ["hatchling>=1.27"]', 'build-backend = "hatchling.build"']
    lines += ["", "[tool.hatch.build.targets.wheel]", f'packages = ["{CLIENT}"]', ""]
    return "\n".join(lines)


FACE: Final = '''"""Client for Tokenwire.

    async with connect("ws://127.0.0.1:8080/v1/connect", token=token) as line:
        print((await line.ask("Why is the sky blue?", session="s1")).text)

With the extra `kafka`: `Producer` publishes prompts without a gateway.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

{at_once}

if TYPE_CHECKING:
{later}

__all__ = [
{exported}
]

__version__ = version("{distribution}")
_WITH_KAFKA = {{
{homes},
}}


def __getattr__(name: str) -> Any:
    if name not in _WITH_KAFKA:
        raise AttributeError(f"module {{__name__!r}} has no attribute {{name!r}}")
    try:
        return getattr(import_module(_WITH_KAFKA[name]), name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith(__name__):
            raise
        raise ImportError(
            f"{{name}} needs the extra `kafka` ({{error.name}} is missing): pip install '{distribution}[kafka]'"
        ) from error
'''
