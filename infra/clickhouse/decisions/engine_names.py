"""The engine's own lists of names, sorted into what readers may use and what not.

Read once from the engine that runs, so a name that a later version brings is known, and refused until its category
or itself is on the list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from infra.clickhouse.decisions.allowed_names import (
    FUNCTION_CATEGORIES,
    FUNCTION_SYNTAX,
    FUNCTIONS,
    FUNCTIONS_REFUSED,
    HARMLESS_TYPES,
    OUTPUT_PREFIX,
    SETTINGS,
)

__all__ = ["EngineNames", "EngineQueries"]


class EngineQueries:
    """What to ask the engine for its names; each answer is rows of strings."""

    functions: Final = "SELECT name, alias_to, categories, toString(is_aggregate) FROM system.functions"
    combinators: Final = "SELECT name FROM system.aggregate_function_combinators"
    settings: Final = "SELECT name, type FROM system.settings"


@dataclass(frozen=True, slots=True)
class EngineNames:
    """Names in lower case, settings as they are."""

    allowed_functions: frozenset[str]
    refused_functions: frozenset[str]
    aggregates: frozenset[str]
    combinators: frozenset[str]
    settings: Mapping[str, str]
    """The type of every setting that the engine knows."""

    @classmethod
    def of(
        cls,
        functions: Iterable[Sequence[str]],
        combinators: Iterable[Sequence[str]],
        settings: Iterable[Sequence[str]],
    ) -> EngineNames:
        """Sort the answers to `EngineQueries`."""
        rows = list(functions)
        category_of = {name: category for name, _, category, _ in rows}
        judged: dict[str, bool] = {}
        for name, alias_to, category, _ in rows:
            meant = alias_to or name
            good = function_is_harmless(meant.lower(), category_of.get(meant, category))
            judged[name.lower()] = judged.get(name.lower(), True) and good
        return cls(
            allowed_functions=frozenset(name for name, good in judged.items() if good),
            refused_functions=frozenset(name for name, good in judged.items() if not good),
            aggregates=frozenset(name.lower() for name, _, _, aggregate in rows if aggregate == "1"),
            combinators=frozenset(row[0].lower() for row in combinators),
            settings={row[0]: row[1] for row in settings},
        )

    def function_known(self, name: str) -> bool:
        """Has the engine a function of this name, aggregates with their endings included?"""
        return name.lower() in FUNCTION_SYNTAX or self.base_of(name.lower()) is not None

    def function_allowed(self, name: str) -> bool:
        """May a reader use the function of this name?"""
        base = self.base_of(name.lower())
        return name.lower() in FUNCTION_SYNTAX or base in self.allowed_functions

    def setting_allowed(self, name: str) -> bool:
        """May a reader change the setting of this name?"""
        if name in SETTINGS:
            return True
        return name.startswith(OUTPUT_PREFIX) and self.settings.get(name) in HARMLESS_TYPES

    def base_of(self, name: str) -> str | None:
        """The function without the endings of an aggregate (sumIf, quantileExactStateIf); None: not known."""
        if name in self.allowed_functions or name in self.refused_functions:
            return name
        for ending in self.combinators:
            if name.endswith(ending):
                base = self.base_of(name.removesuffix(ending))
                if base in self.aggregates:
                    return base
        return None


def function_is_harmless(name: str, category: str) -> bool:
    if name in FUNCTIONS_REFUSED:
        return False
    return category in FUNCTION_CATEGORIES or name in FUNCTIONS
