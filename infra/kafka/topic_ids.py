"""Kafka's metadata request, version 10, for the ids of topics.

aiokafka stops at version 5, which has none. confluent-kafka tells them, but each description that it makes (2.16.1)
leaves an object behind that nothing frees, so a gateway would grow by every session that was ever opened in it.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO
from typing import Any, ClassVar, Final

from aiokafka.errors import KafkaError, LeaderNotAvailableError, NoError, UnknownTopicOrPartitionError, for_code
from aiokafka.protocol.abstract import AbstractType
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields

__all__ = ["TopicIdMissing", "TopicIdsRequest", "read_topic_ids"]

ID_BYTES: Final = 16
NO_ID: Final = bytes(ID_BYTES)
"""A topic is asked for by its name; in an answer, a broker that knows the request but gives topics no ids."""


class TopicIdMissing(KafkaError):  # type: ignore[misc]  # aiokafka ships no types
    """The topic is there and has no id, so an old log of its name could not be told from it."""

    def __init__(self, topic: str) -> None:
        super().__init__(
            f"They give topic {topic} no id, without which a cursor of a deleted log could pass for one of a new one: "
            "upgrade the brokers (Kafka 2.8 and its metadata version, Redpanda from mid-2025), or use another cluster."
        )


class TopicId(AbstractType[bytes]):  # type: ignore[misc]  # aiokafka ships no types
    """Sixteen bytes."""

    @classmethod
    def encode(cls, value: bytes) -> bytes:
        """As they are."""
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        """Raises ValueError where they are cut."""
        value = data.read(ID_BYTES)
        if len(value) != ID_BYTES:
            raise ValueError("a topic id has 16 bytes")
        return value


class MetadataResponse_v10(Response):  # type: ignore[misc]  # named as aiokafka names them
    """Brokers, and topics with their ids."""

    API_KEY: ClassVar[int] = 3
    API_VERSION: ClassVar[int] = 10
    SCHEMA: ClassVar[Schema] = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString("utf-8")),
                ("topic_id", TopicId),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class MetadataRequest_v10(RequestStruct):  # type: ignore[misc]  # named as aiokafka names them
    """Topics by id or name."""

    FLEXIBLE_VERSION: ClassVar[bool] = True
    API_KEY: ClassVar[int] = 3
    API_VERSION: ClassVar[int] = 10
    RESPONSE_TYPE: ClassVar[type[MetadataResponse_v10]] = MetadataResponse_v10
    SCHEMA: ClassVar[Schema] = Schema(
        (
            "topics",
            CompactArray(("topic_id", TopicId), ("topic", CompactString("utf-8")), ("tags", TaggedFields)),
        ),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class TopicIdsRequest(Request[MetadataRequest_v10]):  # type: ignore[misc]  # aiokafka ships no types
    """Asks for topics by name; none is created by asking. Brokers from Kafka 2.8 on answer it."""

    API_KEY: ClassVar[int] = 3

    def __init__(self, topics: Sequence[str]) -> None:
        self._topics: list[tuple[bytes, str, dict[int, bytes]]] = [(NO_ID, topic, {}) for topic in topics]

    def build(self, request_struct_class: type[MetadataRequest_v10]) -> MetadataRequest_v10:
        """The request as it goes out."""
        return request_struct_class(self._topics, False, False, False, {})


def read_topic_ids(response: Any) -> dict[str, str]:
    """The ids of the topics that exist, in base64 without its padding.

    One without a leader exists. Raises TopicIdMissing, and any other KafkaError where the broker refuses.
    """
    ids: dict[str, str] = {}
    for error_code, topic, topic_id, *_ in response.topics:
        error = for_code(error_code)
        if error is UnknownTopicOrPartitionError:
            continue
        if error is NoError and topic_id == NO_ID:
            raise TopicIdMissing(topic)
        if error is not NoError and (error is not LeaderNotAvailableError or topic_id == NO_ID):
            raise error(topic)
        ids[topic] = base64.b64encode(topic_id).decode().rstrip("=")
    return ids
