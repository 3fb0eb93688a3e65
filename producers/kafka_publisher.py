"""One idempotent librdkafka producer with an owned thread that serves its callbacks.

Theory. librdkafka queues, batches and retries on threads of its own and hands results to whoever calls `poll`. Here
that is one thread that blocks inside `poll` (no busy loop) and passes each result on at once; an asyncio caller
receives it through `call_soon_threadsafe`, a blocking one through a `concurrent.futures.Future`. The same code
serves both.

Invariants: a record is settled exactly once, as `Written` or as one of our errors; what waits is bounded in number
and bytes, and a full queue refuses at once instead of blocking; after a *fatal* error (the sequence of an idempotent
producer is broken) the next record goes through a new producer, while the old one settles what it still holds.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from infra.kafka.connection import TOKENS_OPTION, LibrdkafkaTokens
from infra.kafka.token_source import BrokerTokenUnavailable
from producers.errors import (
    AccessDenied,
    BrokerUnavailable,
    ProducerBusy,
    ProducerClosed,
    ProducerError,
    PublishTimedOut,
    TopicMissing,
)
from producers.kafka_faults import ACCESS_CODES, fault_of
from schemas.topics import FOREIGN_PROMPT_BYTES_MAX

__all__ = ["KafkaPublisher", "OutgoingRecord", "PublishBounds", "Settlement", "Written"]

POLL_S: Final = 0.1
"""Longest that `poll` sleeps without a result; also the longest that stopping waits for the thread to look up."""
PURGED_WAIT_S: Final = 1.0
SENDINGS_MAX: Final = 3
"""Of one record whose acknowledgement says no offset."""
METADATA_WAIT_S: Final = 1.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishBounds:
    """How much may wait for the broker, and for how long."""

    queue_messages_max: int = 10_000
    """Records not acknowledged yet; one more is refused with ProducerBusy."""
    queue_kib_max: int = 32_768
    """KiB of those records."""
    publish_s: float = 10.0
    """Time from handing a record over to its acknowledgement; later its outcome is unknown."""
    linger_ms: float = 0.0
    """Wait for company before a batch is sent. 0: a record goes at once; batches form by themselves under load."""
    drain_s: float = 5.0
    """Longest that stopping waits for records on their way."""


@dataclass(frozen=True, slots=True)
class OutgoingRecord:
    """A record to append. The key decides the partition and is never empty."""

    topic: str
    key: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Written:
    """Where the broker appended a record."""

    topic: str
    partition: int
    offset: int


Settlement: TypeAlias = Written | ProducerError
OnSettled: TypeAlias = Callable[[Settlement], None]
"""Called once per accepted record, on the polling thread: it must be quick and must not raise."""


class KafkaPublisher:
    """Publishes records; replaces its producer when that has met a fatal error. Safe to use from many threads."""

    def __init__(self, connection: Mapping[str, object], bounds: PublishBounds) -> None:
        self._options = {**connection, **tuning(bounds)}
        self._bounds = bounds
        self._line: PolledProducer | None = None
        self._guard = threading.Lock()

    def open(self) -> None:
        """Start the producer and its thread. Connecting goes on behind; blocks for an access token where one is needed.

        Raises AccessDenied: there is none.
        """
        with self._guard:
            if self._line is None:
                self._line = PolledProducer(self._options)

    def close(self) -> None:
        """Wait (bounded) for what is on its way, settle the rest, end the thread. Blocks up to `drain_s` + 1 s."""
        with self._guard:
            line, self._line = self._line, None
        if line is not None:
            line.close(self._bounds.drain_s)

    def publish(self, record: OutgoingRecord, on_settled: OnSettled) -> None:
        """Hand a record over; `on_settled` hears how it ended. Raises ProducerBusy, ProducerClosed at once."""
        self._current().publish(record, on_settled)

    def require_topic(self, topic: str, partitions: int, deadline_s: float) -> None:
        """Wait for the cluster and see that the topic is as the catalogue says. Blocks.

        Raises BrokerUnavailable, AccessDenied, TopicMissing.
        """
        found = self._current().partition_count(topic, deadline_s)
        if found == 0:
            raise TopicMissing(f"topic {topic} does not exist; create the topics with `tokenwire migrate`")
        if found != partitions:
            raise TopicMissing(
                f"topic {topic} has {found} partitions instead of {partitions}: users would change places; "
                "delete it and create it anew with `tokenwire migrate`"
            )

    def _current(self) -> PolledProducer:
        with self._guard:
            if self._line is None:
                raise ProducerClosed("the producer is not running; start it first")
            if self._line.broken:
                if (tokens := tokens_of(self._options)) is not None and not tokens.source.at_hand():
                    raise BrokerUnavailable("there is no access token for Kafka at the moment; try again in a second")
                log.warning("kafka_producer_replaced")
                self._line.retire(self._bounds.drain_s)
                self._line = PolledProducer(self._options)
            return self._line


class PolledProducer:
    """A librdkafka producer and the thread that serves it, from birth to fatal error or stop."""

    def __init__(self, options: Mapping[str, object]) -> None:
        self.broken = False
        """True after a fatal error: nothing can be appended through this producer any more."""
        self._access_fault: ProducerError | None = None
        self._servers = options["bootstrap.servers"]
        self._closing = threading.Event()
        self._drain_s = 0.0
        require_token(options)
        try:
            self._kafka = Producer({**options, "error_cb": self._noticed}, logger=KafkaLog())
        except KafkaException as error:
            raise fault_of(error.args[0]) from error
        self._thread = threading.Thread(target=self._serve, name="kafka-producer-poll", daemon=True)
        self._thread.start()

    def publish(self, record: OutgoingRecord, on_settled: OnSettled, sent: int = 1) -> None:
        try:
            self._kafka.produce(
                record.topic, record.value, record.key, on_delivery=partial(self._delivered, record, on_settled, sent)
            )
        except BufferError:
            raise ProducerBusy("too many prompts wait for the broker; try again in a second") from None
        except KafkaException as error:
            raise fault_of(error.args[0]) from error

    def partition_count(self, topic: str, deadline_s: float) -> int:
        """Partitions of the topic, 0 = it does not exist. Asks in short steps, to notice a refused log-in early."""
        steps = max(1, round(deadline_s / METADATA_WAIT_S))
        for _ in range(steps):
            try:
                found = self._kafka.list_topics(topic, timeout=min(METADATA_WAIT_S, deadline_s)).topics.get(topic)
            except KafkaException as error:
                if self._access_fault is not None:
                    raise self._access_fault from error
            else:
                return len(found.partitions) if found is not None and found.error is None else 0
        raise BrokerUnavailable(
            f"no Kafka broker answered at {self._servers} within {deadline_s:g} s; start one (`tokenwire up` does), or "
            "set TOKENWIRE_KAFKA to where it is"
        )

    def retire(self, drain_s: float) -> None:
        """Let the thread settle what is left and end by itself."""
        self._drain_s = drain_s
        self._closing.set()

    def close(self, drain_s: float) -> None:
        self.retire(drain_s)
        self._thread.join(POLL_S + drain_s + 2 * PURGED_WAIT_S)
        if self._thread.is_alive():
            log.error("kafka_producer_stuck", waiting=len(self._kafka))

    def _serve(self) -> None:
        while not self._closing.is_set():
            self._kafka.poll(POLL_S)
        if self._kafka.flush(self._drain_s):
            self._kafka.purge()
            self._kafka.flush(PURGED_WAIT_S)

    def _delivered(
        self, record: OutgoingRecord, on_settled: OnSettled, sent: int, error: KafkaError | None, message: Message
    ) -> None:
        """An acknowledgement without an offset is a guess, from later batches that went through, and can be wrong: a
        broker takes any number in a producer's first batch, also where the batch before it failed. The record is sent
        again; each of ours may lie twice on its log and counts once.
        """
        offset = message.offset()
        if error is not None:
            on_settled(fault_of(error))
        elif offset is not None and offset >= 0:
            on_settled(Written(message.topic(), message.partition(), offset))
        elif sent == SENDINGS_MAX:
            on_settled(PublishTimedOut("Kafka does not say where the prompt is; send again with the same prompt_id"))
        else:
            log.info("record_sent_again", topic=record.topic, partition=message.partition(), sent=sent)
            try:
                self.publish(record, on_settled, sent + 1)
            except ProducerError as fault:
                on_settled(fault)

    def _noticed(self, error: KafkaError) -> None:
        """librdkafka tells what it met outside of any one record."""
        if error.fatal():
            self.broken = True
            log.error("kafka_producer_failed", kafka_error=error.name(), message=error.str())
        elif error.code() in ACCESS_CODES:
            self._access_fault = fault_of(error)
            log.warning("kafka_access_denied", kafka_error=error.name(), message=error.str())
        else:
            log.warning("kafka_trouble", kafka_error=error.name(), message=error.str())


class KafkaLog:
    """librdkafka's own log lines as events of ours: brokers, topics and settings by name, never a secret's value.

    confluent-kafka takes it for a logger and calls `log(level, format, facility, client, text)`. Its errors
    become warnings: librdkafka goes on trying, and what cannot be mended reaches a caller as an error of ours.
    Everything milder is for debugging.
    """

    def log(self, level: int, _format: str, facility: str = "", _client: str = "", text: str = "") -> None:
        write = log.warning if level >= logging.WARNING else log.debug
        write("kafka_client", facility=facility, message=text)


def tokens_of(options: Mapping[str, object]) -> LibrdkafkaTokens | None:
    tokens = options.get(TOKENS_OPTION)
    return tokens if isinstance(tokens, LibrdkafkaTokens) else None


def require_token(options: Mapping[str, object]) -> None:
    """Block until the access token is there, where one is needed: its absence is a sentence, librdkafka's is none."""
    if (tokens := tokens_of(options)) is not None:
        try:
            tokens.source.token_blocking()
        except BrokerTokenUnavailable as error:
            raise AccessDenied(str(error)) from error


def tuning(bounds: PublishBounds) -> dict[str, object]:
    """What makes the producer exact, bounded and quick."""
    return {
        "enable.idempotence": True,
        "acks": "all",
        "partitioner": "murmur2_random",
        "queue.buffering.max.messages": bounds.queue_messages_max,
        "queue.buffering.max.kbytes": bounds.queue_kib_max,
        "message.timeout.ms": round(bounds.publish_s * 1_000),
        "message.max.bytes": FOREIGN_PROMPT_BYTES_MAX,
        "linger.ms": bounds.linger_ms,
        "socket.nagle.disable": True,
        "socket.keepalive.enable": True,
        # A broker that comes back is found within a second; the defaults would let us wait for ten.
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1_000,
        "log.connection.close": False,
    }
