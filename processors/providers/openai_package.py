"""The `openai` package, without its models of all that we do not call: whoever needs it takes it from here.

`import openai` runs 520 modules, most of them models of the Responses, Assistants and evaluation interfaces: a sixth of
what starting a worker takes (docs/benchmarks.md). The two packages that bring them in are put in place unread. Whoever
asks one of them for a name reads it then, whole.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from types import ModuleType
from typing import Any, Final

__all__ = ["openai"]

READ_LATER: Final = ("openai.types", "openai.types.responses")


class UnreadPackage(ModuleType):
    """A package whose own code runs when a name of it is asked for; its modules can be imported one by one before."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        self.__class__ = ModuleType  # type: ignore[assignment]  # first: its code imports from itself
        assert self.__spec__ is not None
        assert self.__spec__.loader is not None
        self.__spec__.loader.exec_module(self)
        return getattr(self, name)


def put_in_place(name: str) -> None:
    """Make a package known without running it."""
    above, _, last = name.rpartition(".")
    parent = sys.modules.get(above)
    found = importlib.util.find_spec(above) if parent is None else parent.__spec__
    assert found is not None
    spec = importlib.machinery.PathFinder.find_spec(name, found.submodule_search_locations)
    assert spec is not None
    package = importlib.util.module_from_spec(spec)
    package.__class__ = UnreadPackage
    sys.modules[name] = package
    if parent is not None:
        setattr(parent, last, package)


if "openai" not in sys.modules:
    for later in READ_LATER:
        put_in_place(later)

import openai  # noqa: E402  after what it would have read
