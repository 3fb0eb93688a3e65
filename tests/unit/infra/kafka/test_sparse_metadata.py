"""Topics are learned one at a time and forgotten when asked."""

from __future__ import annotations

from aiokafka.cluster import ClusterMetadata
from aiokafka.structs import TopicPartition

from infra.kafka.sparse_metadata import merge

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
