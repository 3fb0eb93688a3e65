"""A Kafka client that learns topics one at a time and forgets them when asked.

aiokafka's own client asks, at every topic it has not seen, for the metadata of every topic it ever used, and lets
the broker create what is missing. With a topic per session both grow without end; this one asks for the one topic,
merges the answer, and never lets a broker create anything. aiokafka's and Faust's producers and consumers make their
client themselves: `without_creation` turns it into one of these.
"""

from __future__ import annotations

import random
from functools import partial
from typing import Any, Final, Self

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    LeaderNotAvailableError,
    NoError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.structs import PartitionMetadata, TopicPartition

from infra.async_waits import done_at_last
from infra.decisions.backoff import Backoff
from infra.kafka.existing_topics import ExistingTopicsRequest

__all__ = ["SparseMetadataClient", "without_creation"]

LEARN_BACKOFF: Final = Backoff(0.02, tries_max=50)
NOT_YET: Final = (UnknownTopicOrPartitionError, LeaderNotAvailableError)
BOOTSTRAP_TRIES: Final = 4
BOOTSTRAP_BACKOFF: Final = Backoff(0.2, growth="doubling", tries_max=BOOTSTRAP_TRIES)


class SparseMetadataClient(AIOKafkaClient):  # type: ignore[misc]  # aiokafka ships no types
    """An AIOKafkaClient whose metadata covers the topics in use, and only those."""

    _answered_last: int | None = None

    @classmethod
    async def connected(cls, **options: Any) -> Self:
        """A client that is connected; `options` as for aiokafka's. Raises KafkaError. Cancellation: there is none."""
        client = cls(**options)
        try:
            await client.bootstrap()
        except BaseException:  # a cancel too: a client that nobody has would keep its connections
            await client.close()
            raise
        return client

    async def bootstrap(self) -> None:
        """Connect, in BOOTSTRAP_TRIES tries: a broker closes a connection whose access token has just ended.

        Raises KafkaConnectionError where no broker answers. Cancellation: not connected.
        """
        await done_at_last(super().bootstrap, BOOTSTRAP_BACKOFF, KafkaConnectionError)

    async def _metadata_update(self, cluster_metadata: Any, topics: Any) -> bool:
        """Refresh brokers and the topics in use; an empty list means "brokers only", None "everything"."""
        request = ExistingTopicsRequest(topics)
        for node_id in self.nodes_to_ask():
            try:
                metadata = await self.send_again(node_id, request)
            except KafkaError:
                continue
            if not metadata.brokers:
                return False
            self._answered_last = node_id
            cluster_metadata.update_metadata(metadata)
            return True
        cluster_metadata.failed_update(None)
        return False

    async def _wait_on_metadata(self, topic: str) -> set[int]:
        """Partitions of a topic, learned with one small request if unknown. Raises as `learn`."""
        known: set[int] | None = self.cluster.partitions_for_topic(topic)
        if known is not None:
            return known
        self._topics.add(topic)
        try:  # a topic just created is known to the broker a little later
            await done_at_last(partial(self.learn, topic), LEARN_BACKOFF, NOT_YET)
        except BaseException:  # a cancel too: what nobody uses is not refreshed
            self._topics.discard(topic)
            raise
        learned: set[int] = self.cluster.partitions_for_topic(topic)
        return learned

    async def learn(self, topic: str) -> None:
        """Ask for one topic and merge the answer.

        Raises UnknownTopicOrPartitionError: the broker knows of none; LeaderNotAvailableError: it is there, without
        a leader; another KafkaError: no broker answers.
        """
        response = await self.first_answer(ExistingTopicsRequest([topic]))
        for error_code, name, _, partitions in response.topics:
            error = for_code(error_code)
            if error is not NoError:
                raise error(topic)
            if not merge(self.cluster, name, partitions):
                raise LeaderNotAvailableError(topic)

    async def first_answer(self, request: ExistingTopicsRequest) -> Any:
        fault = KafkaError("no broker is known")
        for node_id in self.nodes_to_ask():
            try:
                response = await self.send_again(node_id, request)
            except KafkaError as error:
                fault = error
                continue
            self._answered_last = node_id
            return response
        raise fault

    async def send_again(self, node_id: int, request: ExistingTopicsRequest) -> Any:
        """Send a request that may be repeated.

        A connection that has ended meanwhile, with its access token or for being idle, is no sign that the broker has:
        the request goes once more, over a new one.
        """
        try:
            return await self.send(node_id, request)
        except KafkaConnectionError:
            return await self.send(node_id, request)

    def nodes_to_ask(self) -> list[int]:
        """The one that answered last comes first: a broker that is gone or hangs is not waited for each time."""
        nodes = [broker.nodeId for broker in self.cluster.brokers()]
        random.shuffle(nodes)
        return sorted(nodes, key=lambda node_id: node_id != self._answered_last)

    def forget(self, topic: str) -> None:
        """Leave the topic out of later refreshes."""
        self._topics.discard(topic)
        for partition in self.cluster._partitions.pop(topic, {}).values():
            self.cluster._broker_partitions[partition.leader].discard(TopicPartition(topic, partition.partition))


def without_creation(client: Any) -> None:
    """Make the client of a producer or consumer that aiokafka or Faust built one of ours, before it is started.

    Raises RuntimeError: it is no client that we know, so topics might be created by its asking.
    """
    if type(client) is not AIOKafkaClient:
        raise RuntimeError(f"this version of aiokafka asks for topics by a {type(client).__name__}")
    client.__class__ = SparseMetadataClient


def merge(cluster: Any, topic: str, partitions: Any) -> bool:
    """Add one topic's partitions to what the client knows of the cluster."""
    known = {}
    for error, partition, leader, replicas, isr, *_ in partitions:
        if leader == -1:
            return False
        known[partition] = PartitionMetadata(
            topic=topic, partition=partition, leader=leader, replicas=replicas, isr=isr, error=error
        )
        cluster._broker_partitions[leader].add(TopicPartition(topic, partition))
    cluster._partitions[topic] = known
    return bool(known)
