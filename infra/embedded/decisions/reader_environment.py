"""Which variables of its environment the readers' process keeps: those on a list, so that no secret can be among them.

A process shows the environment that it was started with for as long as it lives, to itself too. So one that is to know
no secret is started with none: what it needs to run as a program, and its own settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from infra.embedded.decisions.child_environment import READER_SETTINGS

__all__ = ["reader_environment"]

KEPT: Final = frozenset(
    {
        "HOME",
        "LANG",
        "LD_LIBRARY_PATH",
        "MALLOC_ARENA_MAX",
        "NOTIFY_SOCKET",
        "PATH",
        "TMPDIR",
        "TZ",
        "VIRTUAL_ENV",
        *READER_SETTINGS,
    }
)
FAMILIES: Final = ("COVERAGE_", "LC_", "PYTHON")


def reader_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What is left of an environment."""
    return {name: value for name, value in environment.items() if name in KEPT or name.startswith(FAMILIES)}
