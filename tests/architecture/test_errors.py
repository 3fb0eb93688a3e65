"""The worker's errors are drawn in one place, with whose fault each is."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Final

import processors
from processors.providers.provider import ProviderError
from tests.architecture.source_tree import source_files

__all__: list[str] = []

TREE: Final = processors.__doc__ or ""
DRAWN: Final = re.compile(r"^[│├└─ ]*(\w+?(?:Error|[a-z])) {2,}\S", re.MULTILINE)


def raised_here() -> Iterator[type[Exception]]:
    """Each class of an exception that a module of the worker defines."""
    for source in source_files():
        if source.package == "processors" and "class " in "\n".join(source.lines):
            module = importlib.import_module(source.module.removesuffix(".__init__"))
            for _, kind in inspect.getmembers(module, inspect.isclass):
                if issubclass(kind, Exception) and kind.__module__ == module.__name__:
                    yield kind


def test_each_error_is_drawn() -> None:
    """Those of providers have a tree of their own; the others are in the package's, and no other is."""
    names = {kind.__name__ for kind in raised_here() if not issubclass(kind, ProviderError)}

    assert set(DRAWN.findall(TREE)) == names | {"ClusterUnavailable", "ProviderError"}
