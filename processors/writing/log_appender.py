"""Appends to Kafka with the broker's acknowledgement, for everything a worker writes.

One idempotent producer serves every topic, so that what is sent in the same instant travels in one request. An append
whose outcome can't be learned is sent again: every reader folds (`schemas.turn_fold`, the journal by key, records by
identity), so a record that lies twice on a log counts once. After an error that a producer can't recover from, such
as a refused sequence number, it is replaced by a new one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    LeaderNotAvailableError,
    MessageSizeTooLargeError,
    UnknownTopicOrPartitionError,
)

from infra.clock import Clock
from infra.decisions.backoff import Backoff
from infra.kafka.cluster_errors import ClusterUnavailable
from infra.kafka.connection import aiokafka_options
from infra.kafka.sparse_metadata import without_creation
from infra.settings import Settings
from schemas.topics import PROMPT_CARRIER_BYTES_MAX

__all__ = ["AppendFailed", "AppendRefused", "IsGone", "LogAppender", "LogGone", "unknown_is_gone"]

log = structlog.get_logger(__name__)

BATCH_BYTES_MAX: Final = 262_144
REQUEST_BYTES_MAX: Final = 2_097_152
DELIVERY_S: Final = 60.0
"""How long a producer tries to deliver a record before its outcome counts as unknown."""
APPEND_S: Final = 180.0
"""How long an append is tried in all, over as many producers as it takes."""
GONE_AFTER_S: Final = 5.0
"""How long a topic may be unknown, as after a broker's start, before it is asked whether it was deleted."""
APPEND_BACKOFF: Final = Backoff(0.2)
"""Within the two."""
OF_THE_TOPIC: Final = (UnknownTopicOrPartitionError, LeaderNotAvailableError)
"""No fault of the producer, which serves every topic."""
STOP_S: Final = 5.0
IsGone: TypeAlias = Callable[[], Awaitable[bool]]
"""Whether the cluster says that a topic's id is no more."""


async def unknown_is_gone() -> bool:
    """Of a topic whose id nobody has kept: that it is unknown for GONE_AFTER_S is all there is to know."""
    return True


class AppendFailed(ClusterUnavailable):
    """The broker did not take the records in time; whether they lie on the log is unknown."""


class LogGone(AppendFailed):
    """There is no such topic any more."""


class AppendRefused(Exception):
    """The records can't be appended whatever is tried: too large."""


class LogAppender:
    """The worker's way onto logs: one producer, replaced when it breaks."""

    def __init__(self, settings: Settings, clock: Clock, *, role: str = "worker") -> None:
        self._options = aiokafka_options(settings)
        self._clock = clock
        self.names = settings.topic_names
        """What the topics of this line are called."""
        self._client_id = self.names.member(role)
        self.on_appended: Callable[[float], None] = lambda took_s: None
        """Told how long each append took that was acknowledged."""
        self.producer: Any = None
        self._replacing = asyncio.Lock()

    async def start(self) -> None:
        """Connect. Raises AppendFailed where no broker answers."""
        try:
            self.producer = await self.connected_producer()
        except KafkaError as error:
            servers = self._options["bootstrap_servers"]
            raise AppendFailed(f"no Kafka broker answers at {servers}; TOKENWIRE_KAFKA says where they are") from error

    async def stop(self) -> None:
        """Deliver what is pending, as far as that takes no longer than STOP_S, and disconnect."""
        if self.producer is not None:
            producer, self.producer = self.producer, None
            await self.discard(producer)

    async def append(self, topic: str, partition: int, value: bytes | None, *, key: bytes | None = None) -> int:
        """Append one record; returns its offset once acknowledged. See `append_all`."""
        return (await self.append_all(topic, partition, [value], key=key))[0]

    async def append_all(
        self,
        topic: str,
        partition: int,
        values: Sequence[bytes | None],
        *,
        key: bytes | None = None,
        is_gone: IsGone = unknown_is_gone,
    ) -> list[int]:
        """Append records in order; returns their offsets once all are acknowledged.

        Raises AppendRefused, LogGone (`is_gone` says so), AppendFailed (tried for APPEND_S).
        Cancellation: the records may still be appended, whole or in part.
        """
        for value in values:
            if value is not None and len(value) > PROMPT_CARRIER_BYTES_MAX:
                raise AppendRefused(f"a record of {len(value)} bytes; at most {PROMPT_CARRIER_BYTES_MAX} are allowed")
        begun_s = self._clock.monotonic_s()
        while True:
            producer = self.producer
            if producer is None:
                raise AppendFailed("the producer is stopped")
            try:
                offsets = await sent(producer, topic, partition, values, key)
                self.on_appended(self._clock.monotonic_s() - begun_s)
                return offsets
            except MessageSizeTooLargeError as error:
                raise AppendRefused(str(error)) from error
            except KafkaError as error:
                tried_s = self._clock.monotonic_s() - begun_s
                is_unknown = isinstance(error, UnknownTopicOrPartitionError)
                if is_unknown and tried_s > GONE_AFTER_S and await is_gone():
                    raise LogGone(f"{topic}: there is no such topic") from error
                if tried_s > APPEND_S:
                    raise AppendFailed(f"{topic}: {type(error).__name__}") from error
                if isinstance(error, OF_THE_TOPIC):
                    await asyncio.sleep(APPEND_BACKOFF.pause_s())
                    continue
                log.warning("append_failed", topic=topic, error=type(error).__name__)
                await self.replace(producer)

    def forget(self, topic: str) -> None:
        """Stop refreshing the metadata of a topic that is out of use."""
        if self.producer is not None:
            self.producer.client.forget(topic)

    async def replace(self, broken: Any) -> None:
        """Put a new producer in the place of a broken one, once, however many appends it failed."""
        async with self._replacing:
            if self.producer is not broken:
                return
            await asyncio.sleep(APPEND_BACKOFF.pause_s())
            try:
                self.producer = await self.connected_producer()
            except KafkaError as error:
                log.warning("producer_not_replaced", error=type(error).__name__)
                return
            await self.discard(broken)

    async def connected_producer(self) -> Any:
        producer = AIOKafkaProducer(
            acks="all",
            enable_idempotence=True,
            linger_ms=0,
            max_batch_size=BATCH_BYTES_MAX,
            max_request_size=REQUEST_BYTES_MAX,
            request_timeout_ms=int(DELIVERY_S * 1000),
            client_id=self._client_id,
            **self._options,
        )
        without_creation(producer.client)
        try:
            await producer.start()
        except BaseException:  # a cancel too: a producer that began to start has tasks of its own
            await producer.stop()
            raise
        return producer

    async def discard(self, producer: Any) -> None:
        try:
            async with asyncio.timeout(STOP_S):
                await producer.stop()
        except (TimeoutError, KafkaError) as error:
            log.warning("producer_stop_failed", error=type(error).__name__)


async def sent(
    producer: Any, topic: str, partition: int, values: Sequence[bytes | None], key: bytes | None
) -> list[int]:
    if len(values) == 1:
        metadata = await producer.send_and_wait(topic, values[0], key=key, partition=partition)
        return [metadata.offset]
    futures = [await producer.send(topic, value, key=key, partition=partition) for value in values]
    await asyncio.wait(futures)  # all of them: one that failed must not leave another unread
    return [future.result().offset for future in futures]
