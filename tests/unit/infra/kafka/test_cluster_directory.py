"""What a cluster says of its leaders, as values."""

from __future__ import annotations

from types import SimpleNamespace

from infra.kafka.cluster_directory import read_metadata

UNKNOWN_TOPIC = 3
NO_LEADER = 5


def test_answer_about_several_topics() -> None:
    """A partition without a leader is absent; a topic that the broker has not heard of is named."""
    answer = read_metadata(
        SimpleNamespace(
            brokers=[(1, "a", 9092, None), (2, "b", 9093, None)],
            topics=[
                (0, "x", False, [(0, 0, 2, [2, 1], [2], []), (NO_LEADER, 1, -1, [1], [], [])]),
                (UNKNOWN_TOPIC, "y", False, []),
            ],
        )
    )

    assert answer.nodes == {1: ("a", 9092), 2: ("b", 9093)}
    assert answer.leaders == {("x", 0): 2}
    assert answer.unknown == {"y"}
