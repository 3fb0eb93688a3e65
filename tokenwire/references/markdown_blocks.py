"""The blocks that generated pages are made of."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

__all__ = ["first_sentence", "page", "paragraphs", "table"]


def page(title: str, sources: str, *blocks: str) -> str:
    note = f"<!-- Drawn from {sources} by `make schemas`: change those, not this. -->"
    return "\n\n".join((f"# {title}", note, *blocks)) + "\n"


def table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def paragraphs(docstring: str | None) -> str:
    return inspect.cleandoc(docstring or "")


def first_sentence(docstring: str | None) -> str:
    return paragraphs(docstring).split("\n\n")[0].replace("\n", " ")
