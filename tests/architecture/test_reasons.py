"""A broad except and an await under a lock say why they are there, in a comment beside them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.architecture.source_tree import PACKAGES, SourceFile, source_files

__all__: list[str] = []

BROAD: Final = {"Exception", "BaseException"}


def broad_excepts(tree: ast.AST) -> Iterator[int]:
    """Lines of handlers that take whatever comes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and (node.type is None or ast.unparse(node.type) in BROAD):
            yield node.lineno


def awaits_under_locks(tree: ast.AST) -> Iterator[int]:
    """Lines of `async with` that hold a lock while something is awaited."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.AsyncWith) or not any("lock" in name_of(item) for item in node.items):
            continue
        if any(isinstance(inner, ast.Await | ast.Yield) for line in node.body for inner in ast.walk(line)):
            yield node.lineno


def name_of(item: ast.withitem) -> str:
    """The last word of what is held: `lane.lock` is a lock, `clock.paused()` is none."""
    return ast.unparse(item.context_expr).split(".")[-1].replace("clock", "")


def says_why(lines: tuple[str, ...], number: int) -> bool:
    """Whether a comment stands at the end of a line, or in the line before or behind it; linters' own do not count."""
    return any("#" in line.replace("# noqa", "").replace("# type:", "") for line in lines[number - 2 : number + 1])


def faults_of(source: SourceFile) -> list[str]:
    places = [*broad_excepts(source.tree), *awaits_under_locks(source.tree)]
    return [f"{source.path}:{place} says no reason" for place in sorted(places) if not says_why(source.lines, place)]


def test_each_says_why() -> None:
    """Read each reason when you change what stands beside it."""
    assert [fault for source in source_files() if source.package in PACKAGES for fault in faults_of(source)] == []


def test_rule_sees_what_it_is_for() -> None:
    """The check itself: one of each without a word, and one of each with a word."""
    handler = "try:\n    pass\n\nexcept BaseException:\n    pass\n"
    silent = f"{handler}\n\nasync def f():\n\n    async with lock:\n        await x\n"
    spoken = silent.replace("BaseException:", "BaseException:  # why").replace("lock:", "lock:  # why")

    def faults(text: str) -> int:
        return len(faults_of(SourceFile(Path("x.py"), tuple(text.splitlines()), ast.parse(text))))

    assert (faults(silent), faults(spoken)) == (2, 0)
