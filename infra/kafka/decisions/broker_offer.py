"""Whether a broker offers what we cannot do without.

Clients and brokers agree on a version of each request, so an older version makes up for most of what a broker lacks.
Here are the requests of which we need one version and no other. All that is missing is told at once, in sentences.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["NEEDED", "NeededRequest", "lacking"]


@dataclass(frozen=True, slots=True)
class NeededRequest:
    """A request of Kafka's protocol, and the version of it that we send."""

    api_key: int
    name: str
    version: int
    purpose: str
    since: str
    """The first Kafka that has it."""


NEEDED: Final = (
    NeededRequest(1, "Fetch", 10, "to read logs at their leaders", "Kafka 2.1"),
    NeededRequest(3, "Metadata", 10, "for topic ids, by which logs of one name are told apart", "Kafka 2.8"),
    NeededRequest(19, "CreateTopics", 4, "to create topics with the brokers' own replication", "Kafka 2.4"),
)


def lacking(offered: Mapping[int, tuple[int, int]]) -> list[str]:
    """A sentence for each needed request that is not among those offered: API key → oldest and newest version."""
    return [
        f"They offer {versions_of(offered.get(needed.api_key))} of the request {needed.name}; version {needed.version} "
        f"is needed {needed.purpose} ({needed.since} has it): upgrade the brokers, or use another cluster."
        for needed in NEEDED
        if not has(offered, needed)
    ]


def has(offered: Mapping[int, tuple[int, int]], needed: NeededRequest) -> bool:
    oldest, newest = offered.get(needed.api_key, (0, -1))
    return oldest <= needed.version <= newest


def versions_of(offered: tuple[int, int] | None) -> str:
    return "no version" if offered is None else f"versions {offered[0]} to {offered[1]}"
