"""librdkafka's error codes → our errors: the one place that knows both."""

from __future__ import annotations

from typing import Final

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

__all__ = ["ACCESS_CODES", "fault_of"]

ACCESS_CODES: Final[frozenset[int]] = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError._SSL,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)
ABSENT_CODES: Final[frozenset[int]] = frozenset(
    {KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION, KafkaError.UNKNOWN_TOPIC_OR_PART}
)
REFUSED_CODES: Final[frozenset[int]] = frozenset(
    {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_RECORD, KafkaError.POLICY_VIOLATION}
)
AWAY_CODES: Final[frozenset[int]] = frozenset(
    {KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._RESOLVE, KafkaError._TIMED_OUT}
)


def fault_of(error: KafkaError) -> ProducerError:
    """What a failed delivery or request means to whoever asked for it.

    Whatever is not known to have happened *before* the append is an unknown outcome: sending the same prompt_id
    again is always safe, believing that nothing was sent is not.
    """
    code, text = error.code(), error.str()
    if code == KafkaError._QUEUE_FULL:
        return ProducerBusy("too many prompts wait for the broker; try again in a second")
    if code == KafkaError._PURGE_QUEUE:
        return ProducerClosed("the producer was stopped before the prompt was sent; send it again")
    if code in ACCESS_CODES:
        return AccessDenied(
            f"Kafka does not let us write ({text}); check TOKENWIRE_KAFKA_SASL_* and TOKENWIRE_KAFKA_SSL_*"
        )
    if code in ABSENT_CODES:
        return TopicMissing(f"the topic is missing ({text}); create the topics with `tokenwire migrate`")
    if code in REFUSED_CODES:
        return PublishRefused(f"Kafka refused the prompt ({text})")
    if code in AWAY_CODES:
        return BrokerUnavailable(f"no Kafka broker answers ({text}); check that it runs and TOKENWIRE_KAFKA")
    return PublishTimedOut(f"no acknowledgement from Kafka ({text}); send the prompt again with the same prompt_id")
