"""librdkafka's errors, told as ours."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError

from producers.errors import (
    AccessDenied,
    BrokerUnavailable,
    ProducerBusy,
    ProducerClosed,
    ProducerError,
    PublishRefused,
    PublishTimedOut,
    TopicMissing,
)
from producers.kafka_faults import fault_of


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError._QUEUE_FULL, ProducerBusy),
        (KafkaError._PURGE_QUEUE, ProducerClosed),
        (KafkaError._PURGE_INFLIGHT, PublishTimedOut),
        (KafkaError._MSG_TIMED_OUT, PublishTimedOut),
        (KafkaError.REQUEST_TIMED_OUT, PublishTimedOut),
        (KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND, PublishTimedOut),
        (KafkaError._AUTHENTICATION, AccessDenied),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, AccessDenied),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, TopicMissing),
        (KafkaError.MSG_SIZE_TOO_LARGE, PublishRefused),
        (KafkaError._ALL_BROKERS_DOWN, BrokerUnavailable),
    ],
)
def test_code_says_whose_fault_and_what_next(code: int, kind: type[ProducerError]) -> None:
    """Each kind of failure becomes one of ours; whatever may have been appended counts as an unknown outcome."""
    assert type(fault_of(KafkaError(code))) is kind
