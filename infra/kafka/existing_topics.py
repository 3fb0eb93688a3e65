"""Metadata requests that never create a topic, whatever the broker would do for one that lets it.

Kafka's brokers create topics by default (`auto.create.topics.enable`): a metadata request alone does it, unless it says
no. aiokafka's clients do not say no, so each one of ours asks with this request, and those that aiokafka or Faust build
are given our class of client (`sparse_metadata.without_creation`). librdkafka is told by a setting
(`connection.librdkafka_options`). Producing and fetching create nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.metadata import MetadataRequest

__all__ = ["ExistingTopicsRequest"]

SAYS_NO_FROM: Final = 4
"""The first version of the request that can tell a broker not to create anything."""


class ExistingTopicsRequest(MetadataRequest):  # type: ignore[misc]  # aiokafka ships no types
    """Asks about topics as they are; None: about all of them, an empty collection: about the brokers alone."""

    def __init__(self, topics: Collection[str] | None) -> None:
        super().__init__(None if topics is None else sorted(topics), allow_auto_topic_creation=False)

    def prepare(self, versions: dict[int, tuple[int, int]]) -> Any:
        """The request as it goes out. Raises IncompatibleBrokerVersion: the broker would create what we ask for."""
        newest = versions.get(self.API_KEY, (0, 0))[1]
        if newest < SAYS_NO_FROM:
            raise IncompatibleBrokerVersion(
                f"the broker's Metadata request goes up to version {newest}; {SAYS_NO_FROM} is needed (Kafka 0.11)"
            )
        return super().prepare(versions)
