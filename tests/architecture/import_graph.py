"""Who imports whom, among the modules of the tree."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from tests.architecture.source_tree import SourceFile

__all__ = ["Graph", "graph_of", "imported_by", "name_of", "reached_from"]

Graph: TypeAlias = Mapping[str, set[str]]
"""Of each module, the modules of ours that it imports."""


def name_of(source: SourceFile) -> str:
    return source.module.removesuffix(".__init__")


def graph_of(sources: Iterable[SourceFile]) -> dict[str, set[str]]:
    """Who imports whom: `from package import module` is an import of the module."""
    by_name = {name_of(source): source for source in sources}
    return {
        name: {found for found in imported_by(source.tree, by_name) if found != name}
        for name, source in by_name.items()
    }


def imported_by(tree: ast.AST, names: Iterable[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                yield from (alias.name for alias in aliases if alias.name in names)
            case ast.ImportFrom(module=str() as module, names=aliases):
                inner = (f"{module}.{alias.name}" for alias in aliases)
                yield from (name if name in names else module for name in inner if name in names or module in names)
            case _:
                continue


def reached_from(name: str, graph: Graph) -> set[str]:
    found: set[str] = set()
    waiting = [name]
    while waiting:
        fresh = graph.get(waiting.pop(), set()) - found
        found |= fresh
        waiting += fresh
    return found
