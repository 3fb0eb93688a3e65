"""All ordinary texts, as a model might answer: what a watch must never stop.

Written or generated here, but for Python's own sources and licence, which are read where they are installed.
"""

from __future__ import annotations

import builtins
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from infra.simulated_provider.answer_text import answer_for
from tests.data.ordinary_texts.languages import language_pages
from tests.data.ordinary_texts.rows import rows
from tests.data.ordinary_texts.verses import verses

__all__ = ["ordinary_texts"]

TEXT_CHARS_MAX: Final = 24_000
QUESTIONS: Final = (
    "How do consumer groups share partitions?", "Explain tides to a child.", "Plan a week of vegetarian dinners.",
    "What is a monad?", "Write about lighthouses.", "Compare rivers and roads.", "Why do cats purr?",
    "Summarise the history of paper.", "How does a sewing machine work?", "Give advice on learning the violin.",
)  # fmt: skip
MODULES: Final = (
    "abc", "argparse", "ast", "asyncio.queues", "base64", "bisect", "calendar", "codecs", "collections", "colorsys",
    "configparser", "contextlib", "copy", "csv", "dataclasses", "datetime", "decimal", "difflib", "enum", "fractions",
    "functools", "heapq", "html.entities", "http.client", "inspect", "ipaddress", "json.decoder", "keyword", "locale",
    "logging", "mimetypes", "opcode", "operator", "os", "pathlib", "pickle", "random", "shlex", "statistics", "string",
    "tarfile", "textwrap", "token", "tokenize", "typing", "unittest.mock", "uuid", "zipfile",
)  # fmt: skip


def ordinary_texts() -> Iterator[tuple[str, str]]:
    """Every text with its name."""
    yield from language_pages()
    yield from verses()
    yield from rows()
    yield from simulated_answers()
    yield from sources()


def simulated_answers() -> Iterator[tuple[str, str]]:
    for question in QUESTIONS:
        for seed, tokens in ((1, 2_000), (2, 2_000), (3, 4_000)):
            pieces = answer_for([{"role": "user", "content": question}], seed=seed, tokens=tokens)
            yield f"simulated answer {question} {seed}", "".join(pieces)


def sources() -> Iterator[tuple[str, str]]:
    """Python's modules, each once as fenced code and once bare, as careless models write it; and its licence."""
    for module in MODULES:
        source = inspect.getsource(importlib.import_module(module))[:TEXT_CHARS_MAX]
        yield f"fenced {module}", f"```python\n{source}\n```\n"
        yield f"bare {module}", source
    for letter in "abcdefghilmnoprstvz":
        yield f"documentation of {letter}", documentation(letter)
    licence = Path(inspect.getfile(inspect)).parent / "LICENSE.txt"
    if licence.exists():
        yield "licence", licence.read_text(encoding="utf-8")


def documentation(letter: str) -> str:
    """What Python says about the built-in names that begin with a letter."""
    names = [name for name in dir(builtins) if name.lower().startswith(letter)]
    return "\n\n".join(f"## {name}\n\n{inspect.getdoc(getattr(builtins, name)) or ''}" for name in names)
