"""The tracked Python files, read once and handed to each architecture test as syntax trees."""

from __future__ import annotations

import ast
import functools
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

__all__ = ["PACKAGES", "ROOT", "AnyFunction", "SourceFile", "functions_of", "source_files", "tracked_files"]

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = ("schemas", "infra", "producers", "processors", "gateway", "tokenwire")
"""The import packages in the wheel, lowest first."""

AnyFunction: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A Python file: where it is below the root, its lines and its tree."""

    path: Path
    lines: tuple[str, ...] = field(repr=False)
    tree: ast.Module = field(repr=False)

    @property
    def package(self) -> str:
        """The top-level folder."""
        return self.path.parts[0]

    @property
    def module(self) -> str:
        """The name it is imported by."""
        return ".".join(self.path.with_suffix("").parts)

    def imports(self) -> Iterator[str]:
        """Every module that is imported, wherever in the file, by its full name."""
        for node in ast.walk(self.tree):
            match node:
                case ast.Import(names=names):
                    yield from (alias.name for alias in names)
                case ast.ImportFrom(module=str() as module, level=0):
                    yield module
                case ast.ImportFrom():
                    yield "a relative import"
                case _:
                    continue


@functools.cache
def tracked_files() -> tuple[Path, ...]:
    """What git has or would take, below the root; without git (an unpacked archive): everything not hidden."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
        timeout=30,
    )
    if listed.returncode == 0:
        names = [Path(name) for name in listed.stdout.decode().split("\0") if name]
    else:
        names = [path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file()]
        names = [path for path in names if not any(part.startswith(".") for part in path.parts)]
    return tuple(sorted(path for path in names if (ROOT / path).is_file()))


@functools.cache
def source_files() -> tuple[SourceFile, ...]:
    """The Python files of packages, tests and benchmarks."""
    found = []
    for path in tracked_files():
        if path.suffix == ".py":
            text = (ROOT / path).read_text()
            found.append(SourceFile(path, tuple(text.splitlines()), ast.parse(text, filename=str(path))))
    return tuple(found)


def functions_of(source: SourceFile) -> Iterator[AnyFunction]:
    """Every function and method, nested ones included."""
    return (node for node in ast.walk(source.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
