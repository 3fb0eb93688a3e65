"""The modules that some modules need, and their text under another name.

Imports count wherever they stand in a file, in functions and under TYPE_CHECKING too: a client's own type checker
follows them all.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["Closure", "UnreadableImport", "closure_of", "moved"]

FROM: Final = "from"


class UnreadableImport(Exception):
    """An import that can't be moved; the sentence names the file's module, the line and the remedy."""


@dataclass(frozen=True, slots=True)
class Closure:
    """What belongs together."""

    modules: frozenset[str]
    """Modules of ours, packages among them."""
    foreign: frozenset[str]
    """Top-level names of everybody else's that they import, the standard library's among them."""


def closure_of(roots: Iterable[str], packages: frozenset[str], text_of: Callable[[str], str | None]) -> Closure:
    """Everything that these modules import, and what that imports.

    `packages`: top-level names that are ours. `text_of`: a module's source, None where there is no such module.
    Raises UnreadableImport.
    """
    modules: set[str] = set()
    foreign: set[str] = set()
    waiting = list(roots)
    while waiting:
        module = waiting.pop()
        text = None if module in modules else text_of(module)
        if text is None:
            continue
        modules.add(module)
        parts = module.split(".")
        waiting.extend(".".join(parts[:length]) for length in range(1, len(parts)))
        for name in imported(module, text, packages):
            if name.split(".")[0] in packages:
                waiting.append(name)
            else:
                foreign.add(name.split(".")[0])
    return Closure(frozenset(modules), frozenset(foreign))


def imported(module: str, text: str, packages: frozenset[str]) -> Iterator[str]:
    """Each module that the text may import: of `from a import b` both a and a.b."""
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    if alias.name.split(".")[0] in packages:
                        where = f"{module}, line {node.lineno}"
                        raise UnreadableImport(
                            f"{where}: `import {alias.name}` can't be moved; write `from … import …`."
                        )
                    yield alias.name
            case ast.ImportFrom(module=str() as source, level=0, names=names):
                yield source
                yield from (f"{source}.{alias.name}" for alias in names)
            case ast.ImportFrom():
                raise UnreadableImport(
                    f"{module}, line {node.lineno}: a relative import can't be moved; name it in full."
                )
            case _:
                continue


def moved(text: str, names: Mapping[str, str]) -> str:
    """The text with its imports under new names: `{"schemas": "client.schemas"}`; nothing else in it changes."""
    lines = text.splitlines(keepends=True)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.level == 0:
            top = node.module.split(".")[0]
            if top in names:
                line = lines[node.lineno - 1]
                # columns of the tree count UTF-8 bytes, but what stands before an import is ASCII
                begin = node.col_offset + len(FROM)
                head, tail = line[:begin], line[begin:]
                lines[node.lineno - 1] = head + tail.replace(top, names[top], 1)
    return "".join(lines)
