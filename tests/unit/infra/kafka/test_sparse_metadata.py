"""Topics are learned one at a time and forgotten when asked."""

from __future__ import annotations

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.errors import KafkaConnectionError
from aiokafka.structs import TopicPartition

from infra.decisions.backoff import Backoff
from infra.kafka import sparse_metadata
from infra.kafka.sparse_metadata import BOOTSTRAP_TRIES, SparseMetadataClient, merge

__all__: list[str] = []

PARTITIONS: list[tuple[int, int, int, list[int], list[int], list[int]]] = [
    (0, 0, 5, [5], [5], []),
    (0, 1, 6, [6], [6], []),
]


def test_learned_topic() -> None:
    """Its leaders are known, beside those of topics learned before."""
    cluster = ClusterMetadata()

    assert merge(cluster, "a", PARTITIONS)
    assert merge(cluster, "b", PARTITIONS[:1])
    assert cluster.partitions_for_topic("a") == {0, 1}
    assert cluster.leader_for_partition(TopicPartition("a", 1)) == 6
    assert cluster.leader_for_partition(TopicPartition("b", 0)) == 5


def test_topic_without_a_leader_yet() -> None:
    """It is not learned: asking again finds it."""
    cluster = ClusterMetadata()

    assert not merge(cluster, "a", [(5, 0, -1, [], [], [])])
    assert not merge(cluster, "b", [])
    assert cluster.partitions_for_topic("a") is None


@pytest.mark.parametrize("refusals", [0, 1, BOOTSTRAP_TRIES - 1, BOOTSTRAP_TRIES])
async def test_connection_that_is_closed_during_the_start(refusals: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its token may just have ended: it is made again, a few times. Then whoever starts is told."""
    tries = 0

    async def bootstrap(_: AIOKafkaClient) -> None:
        nonlocal tries
        tries += 1
        if tries <= refusals:
            raise KafkaConnectionError("closed")

    monkeypatch.setattr(AIOKafkaClient, "bootstrap", bootstrap)
    monkeypatch.setattr(sparse_metadata, "BOOTSTRAP_BACKOFF", Backoff(0.0, tries_max=BOOTSTRAP_TRIES))
    client = SparseMetadataClient(bootstrap_servers="127.0.0.1:1")
    if refusals < BOOTSTRAP_TRIES:
        await client.bootstrap()
    else:
        with pytest.raises(KafkaConnectionError, match="closed"):
            await client.bootstrap()

    assert tries == min(refusals + 1, BOOTSTRAP_TRIES)
