"""Packages whose internals are used: each at the one version that was tried.

What a package does inside may change with any release, and nothing would say so: offsets would be committed that were
not finished, or topics made that were deleted. So these are pinned, and a process that finds another version ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Final

from packaging.requirements import Requirement

__all__ = ["USED_INSIDE", "OtherVersion", "other_versions", "require_tried_packages"]

USED_INSIDE: Final = ("aiokafka", "faust-streaming", "websockets")


class OtherVersion(Exception):
    """A package is not at the version whose internals are known; the sentence says what to install."""


def require_tried_packages() -> None:
    """End at the start rather than go wrong later. Raises OtherVersion."""
    try:
        pins = requires("tokenwire") or []
    except PackageNotFoundError:  # run from a folder, never installed: nothing says what was tried
        return
    wrong = other_versions(pins, version)
    if wrong:
        raise OtherVersion(f"Tokenwire uses internals of these packages. Install {' and '.join(wrong)}.")


def other_versions(pins: Iterable[str], installed: Callable[[str], str]) -> list[str]:
    """What to install instead, `name==version (not …)` each. `pins`: requirements as pyproject.toml writes them."""
    return [
        f"{wanted.name}{wanted.specifier} (not {found})"
        for wanted in map(Requirement, pins)
        if wanted.name in USED_INSIDE and not wanted.specifier.contains(found := installed(wanted.name))
    ]
