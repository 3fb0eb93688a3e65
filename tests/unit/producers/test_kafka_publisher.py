"""The publisher without a broker: bounds, stopping, replacement after a fatal error."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError

from producers.errors import BrokerUnavailable, ProducerBusy, ProducerClosed, PublishTimedOut
from producers.kafka_publisher import KafkaPublisher, OutgoingRecord, PublishBounds, Settlement, Written

RECORD = OutgoingRecord("tokenwire.prompts", b"user", b"{}")
NOBODY: dict[str, object] = {"bootstrap.servers": "127.0.0.1:9", "log_level": 0}
"""A port where nobody listens (discard)."""
PRETENDED: dict[str, object] = {"test.mock.num.brokers": 1, "bootstrap.servers": "127.0.0.1:9", "log_level": 0}
"""librdkafka's own pretended cluster: real protocol, no Java."""
WAIT_S = 10.0


class Settled:
    """Collects settlements from the polling thread."""

    def __init__(self) -> None:
        self.settlements: list[Settlement] = []
        self.arrived = threading.Semaphore(0)

    def __call__(self, settlement: Settlement) -> None:
        self.settlements.append(settlement)
        self.arrived.release()

    def wait(self, count: int = 1) -> list[Settlement]:
        for _ in range(count):
            assert self.arrived.acquire(timeout=WAIT_S), "no settlement came"
        return self.settlements


@pytest.fixture
def open_publishers() -> Iterator[list[KafkaPublisher]]:
    publishers: list[KafkaPublisher] = []
    yield publishers
    for publisher in publishers:
        publisher.close()


def opened(kept: list[KafkaPublisher], options: dict[str, object], **bounds: Any) -> KafkaPublisher:
    publisher = KafkaPublisher(options, PublishBounds(drain_s=0.1, **bounds))
    publisher.open()
    kept.append(publisher)
    return publisher


def test_full_queue_refuses_at_once(open_publishers: list[KafkaPublisher]) -> None:
    """What fits waits for a broker; one more is refused without waiting."""
    publisher = opened(open_publishers, NOBODY, queue_messages_max=3)
    for _ in range(3):
        publisher.publish(RECORD, Settled())

    begun_s = time.monotonic()
    with pytest.raises(ProducerBusy):
        publisher.publish(RECORD, Settled())
    assert time.monotonic() - begun_s < 2.0


def test_queue_is_bounded_in_bytes_too(open_publishers: list[KafkaPublisher]) -> None:
    """A few large records fill it as many small ones do."""
    publisher = opened(open_publishers, NOBODY, queue_kib_max=64)
    large = OutgoingRecord("tokenwire.prompts", b"user", b"x" * 60_000)
    publisher.publish(large, Settled())

    with pytest.raises(ProducerBusy):
        publisher.publish(large, Settled())


def test_record_that_nobody_took_in_time_has_an_unknown_outcome(open_publishers: list[KafkaPublisher]) -> None:
    """At its deadline a record is given up, and said to be perhaps on the log."""
    settled = Settled()
    opened(open_publishers, NOBODY, publish_s=0.2).publish(RECORD, settled)

    assert isinstance(settled.wait()[0], PublishTimedOut)


def test_stopping_settles_what_still_waits() -> None:
    """Nobody is left hanging: what was never sent is told so, and nothing is taken afterwards."""
    settled = Settled()
    publisher = KafkaPublisher(NOBODY, PublishBounds(drain_s=0.1))
    publisher.open()
    publisher.publish(RECORD, settled)
    publisher.close()

    assert isinstance(settled.wait()[0], ProducerClosed)
    with pytest.raises(ProducerClosed):
        publisher.publish(RECORD, settled)


def test_nobody_there_is_said_within_the_deadline(open_publishers: list[KafkaPublisher]) -> None:
    """The sentence names the address and what to do."""
    publisher = opened(open_publishers, NOBODY)

    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:9 .*TOKENWIRE_KAFKA"):
        publisher.require_topic("tokenwire.prompts", 12, 0.5)


def test_fatal_error_gets_a_new_producer_and_loses_nothing(open_publishers: list[KafkaPublisher]) -> None:
    """The producer whose sequence broke settles what it holds; the next record goes through its successor."""
    publisher = opened(open_publishers, PRETENDED)
    before, after = Settled(), Settled()
    publisher.publish(RECORD, before)
    broken = publisher._current()
    broken._noticed(KafkaError(KafkaError._FATAL, "sequence broken", True))
    publisher.publish(RECORD, after)

    assert publisher._current() is not broken
    assert isinstance(before.wait()[0], Written | ProducerClosed | PublishTimedOut)
    assert isinstance(after.wait()[0], Written)
