"""Topic ids, from a response's bytes."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from aiokafka.errors import LeaderNotAvailableError, TopicAuthorizationFailedError

from infra.kafka.topic_ids import MetadataResponse_v10, TopicIdsRequest, read_topic_ids

__all__: list[str] = []

UNKNOWN_TOPIC = 3
NO_LEADER = 5
REFUSED = 29
ID = bytes(range(16))


def answered(*topics: tuple[int, str, bytes]) -> Any:
    """What a broker's answer decodes to."""
    partitions: list[Any] = [(0, 0, 1, 7, [1], [1], [], {})]
    told: list[Any] = [
        (error, name, topic_id, False, [] if error else partitions, -1, {}) for error, name, topic_id in topics
    ]
    response = MetadataResponse_v10(0, [(1, "a", 9092, None, {})], "cluster", 1, told, -1, {})
    return MetadataResponse_v10.decode(BytesIO(response.encode()))


def test_answer_about_several_topics() -> None:
    """Those that exist, in base64 without its padding; the brokers are there to be asked again."""
    response = answered((0, "x", ID), (UNKNOWN_TOPIC, "y", bytes(16)))

    assert read_topic_ids(response) == {"x": "AAECAwQFBgcICQoLDA0ODw"}
    assert [broker[:3] for broker in response.brokers] == [(1, "a", 9092)]


def test_topic_without_a_leader() -> None:
    """It is there, with its id; where none is told, nothing is known of it."""
    assert read_topic_ids(answered((NO_LEADER, "x", ID))) == {"x": "AAECAwQFBgcICQoLDA0ODw"}
    with pytest.raises(LeaderNotAvailableError):
        read_topic_ids(answered((NO_LEADER, "x", bytes(16))))


def test_topic_that_is_refused() -> None:
    """It is not taken for one that does not exist."""
    with pytest.raises(TopicAuthorizationFailedError):
        read_topic_ids(answered((REFUSED, "x", bytes(16))))


def test_cut_answer() -> None:
    """It is an error, not an id."""
    whole = answered((0, "x", ID)).encode()
    with pytest.raises(ValueError, match="16 bytes"):
        MetadataResponse_v10.decode(BytesIO(whole[: whole.index(ID) + 8]))


def test_request_asks_by_name() -> None:
    """Each topic with no id; nothing is to be created."""
    request = TopicIdsRequest(["x"]).prepare({3: (0, 13)})

    assert request.API_VERSION == 10
    assert bytes(request.encode()) == b"\x02" + bytes(16) + b"\x02x" + b"\0" + b"\0\0\0" + b"\0"
