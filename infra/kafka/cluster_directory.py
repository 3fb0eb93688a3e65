"""What the cluster says of topics (who leads them, and their ids): asked of whichever broker answers.

The one that answered last is asked first, so that a broker which hangs costs one time-out and not one in three. What
is known of the brokers is replaced by each answer; the bootstrap servers are tried when none of them answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.conn import collect_hosts
from aiokafka.errors import KafkaConnectionError, KafkaError, UnknownTopicOrPartitionError, for_code

from infra.kafka.existing_topics import ExistingTopicsRequest
from infra.kafka.node_connection import NodeAddress, NodeConnection
from infra.kafka.topic_ids import TopicIdsRequest, read_topic_ids

__all__ = ["ClusterDirectory", "LeaderAnswer", "read_metadata"]

ASK_S: Final = 2.0
"""For one broker, connecting included."""
NO_LEADER: Final = -1


@dataclass(frozen=True, slots=True)
class LeaderAnswer:
    """What the cluster says of some topics. A partition without a leader is absent."""

    nodes: dict[int, NodeAddress]
    leaders: dict[tuple[str, int], int]
    unknown: frozenset[str]
    """Topics that the broker has not heard of; one that was created a moment ago may be among them."""


class ClusterDirectory:
    """Looks topics up, one request at a time."""

    def __init__(self, bootstrap_servers: str, options: Mapping[str, Any]) -> None:
        self._bootstrap = [(host, port) for host, port, _ in collect_hosts(bootstrap_servers)]
        self._options = options
        self._nodes: dict[int, NodeAddress] = {}
        self._last: tuple[NodeAddress, NodeConnection] | None = None
        self._asking = asyncio.Lock()

    def address_of(self, node: int) -> NodeAddress | None:
        """Where a broker is, as the last answer had it."""
        return self._nodes.get(node)

    async def look_up(self, topics: Collection[str]) -> LeaderAnswer:
        """Leaders of all partitions of the topics. Raises KafkaError, OSError or TimeoutError: nobody answered.

        Cancellation: nothing has happened.
        """
        return read_metadata(await self._answer(ExistingTopicsRequest(topics)))

    async def topic_ids(self, topics: Collection[str]) -> dict[str, str]:
        """The id of each of the topics that exist. Raises KafkaError, OSError or TimeoutError: nobody answered.

        Cancellation: nothing has happened.
        """
        return read_topic_ids(await self._answer(TopicIdsRequest(sorted(topics))))

    async def close(self) -> None:
        """Close the connection."""
        last, self._last = self._last, None
        if last is not None:
            await last[1].close()

    def _addresses(self) -> Iterator[NodeAddress]:
        if self._last is not None:
            yield self._last[0]
        yield from self._nodes.values()
        yield from self._bootstrap

    async def _answer(self, request: Any) -> Any:
        fault: Exception = KafkaConnectionError("no broker is known")
        async with self._asking:
            for address in tuple(dict.fromkeys(self._addresses())):
                try:
                    response = await self._ask(address, request)
                except (KafkaError, OSError, TimeoutError) as error:
                    fault = error
                    continue
                if response.brokers:
                    self._nodes = nodes_of(response)
                    return response
        raise fault

    async def _ask(self, address: NodeAddress, request: Any) -> Any:
        if self._last is None or self._last[0] != address:
            await self.close()
            self._last = address, NodeConnection(lambda: address, self._options)
        async with asyncio.timeout(ASK_S):
            return await self._last[1].send(request)


def read_metadata(response: Any) -> LeaderAnswer:
    """A response as values."""
    leaders: dict[tuple[str, int], int] = {}
    unknown = set()
    for error_code, topic, _, partitions in response.topics:
        if for_code(error_code) is UnknownTopicOrPartitionError:
            unknown.add(topic)
        for _, partition, leader, *_ in partitions:
            if leader != NO_LEADER:
                leaders[topic, partition] = leader
    return LeaderAnswer(nodes_of(response), leaders, frozenset(unknown))


def nodes_of(response: Any) -> dict[int, NodeAddress]:
    return {node: (host, port) for node, host, port, *_ in response.brokers}
