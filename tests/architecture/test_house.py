"""The house: modules without circles, and folders in the order that a prompt meets them.

Every import counts, wherever it stands: one under `TYPE_CHECKING` hides a circle from Python, not from a reader.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from tests.architecture.import_graph import Graph, graph_of, name_of, reached_from
from tests.architecture.source_tree import PACKAGES, SourceFile, source_files

__all__: list[str] = []

FLOORS: Final = {
    "processors": (
        *("analytics", "", "group", "intake", "turns", "attempts", "sessions", "targets", "providers", "ledger"),
        "writing",
    ),
    "gateway": (
        *("web", "client", "process", "clients", "access", "sockets", "hubs", "fetching", ""),
        "decisions",
    ),
    "producers": ("batches", "answers", "dead_letters", ""),
    "infra": (
        *("client_distribution", "deploy", "embedded", "clickhouse", "simulated_provider", "targets", "kafka"),
        *("telemetry", "", "decisions"),
    ),
    "tokenwire": ("", "references", "commands", "benchmark", "line"),
}
"""Of each package its folders, top first; "" are the modules that lie in none. A module imports from its own folder
and from those after it; a folder's `decisions/` counts as the folder."""

FACE: Final = "tokenwire"
"""Reads what a command needs when it runs, so that `--help` comes at once; what it needs for types it may import so."""
HEAVY: Final = {"jgo.maven"}
"""Of others, and too slow to import for a type alone."""


def ours() -> list[SourceFile]:
    return [source for source in source_files() if source.package in PACKAGES]


def circles_of(graph: Graph) -> list[list[str]]:
    """The largest sets of modules in which each one reaches each other one."""
    reached = {name: reached_from(name, graph) for name in graph}
    circles = {frozenset(other for other in reached[name] if name in reached[other]) for name in graph}
    return sorted(sorted(circle) for circle in circles if circle)


def type_only(source: SourceFile) -> Iterator[str]:
    """The modules imported for the type checker's eyes alone."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for inner in ast.walk(node):
                match inner:
                    case ast.Import(names=aliases):
                        yield from (alias.name for alias in aliases)
                    case ast.ImportFrom(module=str() as module):
                        yield module
                    case _:
                        continue


def folders_of(sources: Iterable[SourceFile]) -> dict[str, str]:
    """Of each module the folder of its package; "": it lies in none."""
    return {name_of(source): source.path.parts[1] if len(source.path.parts) > 2 else "" for source in sources}


def homeless(sources: Iterable[SourceFile]) -> Iterator[str]:
    for name, folder in folders_of(sources).items():
        package = name.split(".")[0]
        if package in FLOORS and folder not in FLOORS[package]:
            yield f"no floor: {name}"


def arrows_up(sources: Iterable[SourceFile]) -> Iterator[str]:
    folders = folders_of(sources)
    for name, imported in graph_of(sources).items():
        package = name.split(".")[0]
        for other in imported:
            if other.split(".")[0] == package and is_up(FLOORS.get(package, ()), folders[name], folders[other]):
                yield f"up: {name} imports {other}"


def is_up(floors: tuple[str, ...], folder: str, other: str) -> bool:
    """Whether an import leads to a floor above."""
    return folder in floors and other in floors and floors.index(folder) > floors.index(other)


def faults_of(sources: list[SourceFile]) -> set[str]:
    hidden = {
        f"type only: {name_of(source)} imports {module}"
        for source in sources
        for module in type_only(source)
        if source.package != FACE and module not in HEAVY
    }
    circles = {f"circle: {', '.join(circle)}" for circle in circles_of(graph_of(sources))}
    return hidden | circles | set(homeless(sources)) | set(arrows_up(sources))


def test_the_house_stands() -> None:
    """No circle, no import for types alone, none of a folder above, and every folder has its floor."""
    assert sorted(faults_of(ours())) == []


def source_of(path: str, text: str) -> SourceFile:
    return SourceFile(Path(path), tuple(text.splitlines()), ast.parse(text))


def test_rules_see_what_they_are_for() -> None:
    """The checks themselves: a circle closed under TYPE_CHECKING and an arrow up are seen."""
    hidden = "if TYPE_CHECKING:\n    from processors.turns import stops\n"
    sources = [
        source_of("processors/sessions/__init__.py", ""),
        source_of("processors/turns/__init__.py", ""),
        source_of("processors/turns/stops.py", "import processors.sessions.lane"),
        source_of("processors/sessions/lane.py", hidden),
        source_of("processors/cellar/wine.py", ""),
    ]

    assert faults_of(sources) == {
        "circle: processors.sessions.lane, processors.turns.stops",
        "type only: processors.sessions.lane imports processors.turns",
        "no floor: processors.cellar.wine",
        "up: processors.sessions.lane imports processors.turns.stops",
    }
