"""An ordered set that nearly always holds one thing: a session's readers, of which there are as a rule one.

A dict takes 232 bytes from its first entry on, and a gateway has three of them for each of its sessions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

__all__ = ["OneOrMany"]

Item = TypeVar("Item")


class OneOrMany(Generic[Item]):
    """Things in the order in which they came, each once. Iterating goes over those that were there when it began."""

    __slots__ = ("many", "one")

    def __init__(self) -> None:
        self.one: Item | None = None
        self.many: dict[Item, None] | None = None
        """All of them, once there were two."""

    def add(self, item: Item) -> None:
        """Put it at the end, unless it is there."""
        if self.many is not None:
            self.many[item] = None
        elif self.one is None:
            self.one = item
        elif self.one is not item:
            self.many = {self.one: None, item: None}
            self.one = None

    def discard(self, item: Item) -> None:
        """Take it out, if it is there."""
        if self.many is not None:
            self.many.pop(item, None)
            if not self.many:
                self.many = None
        elif self.one is item:
            self.one = None

    def __iter__(self) -> Iterator[Item]:
        if self.many is not None:
            return iter(list(self.many))
        return iter(() if self.one is None else (self.one,))

    def __len__(self) -> int:
        return len(self.many) if self.many is not None else int(self.one is not None)

    def __contains__(self, item: object) -> bool:
        return item in self.many if self.many is not None else self.one is item and item is not None
