"""Makes sure that topics exist as they must before a process starts.

Creating is idempotent: every process may ask at its start, also several at once. What exists is checked, not changed: a
partition count is fixed for life (users would move to other partitions), and fewer replicas than the setting asks for
would break a promise without a word.

    TopicSetupError         the sentence says what to do
    ├── TopicsUnavailable   no broker answered in time, or it refused
    └── TopicsUnfit         what is there is not what is needed; `faults` lists everything
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import ConfigResource, NewTopic, ResourceType
from confluent_kafka.error import KafkaError

from infra.kafka.broker_check import check_brokers
from infra.kafka.connection import librdkafka_options, new_admin, require_token
from infra.kafka.decisions.durability import durability_hint
from infra.settings import Settings
from schemas.topics import TopicSpec

__all__ = ["TopicSetupError", "TopicsUnavailable", "TopicsUnfit", "ensure_topics", "new_topic"]

log = structlog.get_logger(__name__)

SETUP_DEADLINE_S: Final = 60.0
REQUEST_DEADLINE_S: Final = 10.0
METADATA_POLL_S: Final = 0.05
BROKERS_DEFAULT: Final = -1
DURABILITY: Final = ("default.replication.factor", "min.insync.replicas")
AUTO_CREATION: Final = "auto.create.topics.enable"
REPLICATION_OF_CLUSTERS: Final = 3
REFUSED: Final = (KafkaError.CLUSTER_AUTHORIZATION_FAILED, KafkaError.TOPIC_AUTHORIZATION_FAILED)


class TopicSetupError(Exception):
    """The topics are not as they must be."""


class TopicsUnavailable(TopicSetupError):
    """The cluster did not answer, or refused. Temporary, or for whoever runs the cluster."""


class TopicsUnfit(TopicSetupError):
    """What exists does not fit. `faults` has a sentence for each thing found."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__(" ".join(faults))
        self.faults = faults


async def ensure_topics(settings: Settings, specs: Sequence[TopicSpec], deadline_s: float = SETUP_DEADLINE_S) -> None:
    """Create what is missing, wait until it can be used, check it all.

    Raises TopicSetupError, BrokersUnfit, BrokerTokenUnavailable.

    Cancellation: the request under way goes on in its thread until its own deadline; topics may have been created.
    """
    await require_token(settings)
    await check_brokers(settings)
    await asyncio.to_thread(lambda: TopicSetup(settings, deadline_s).run(tuple(specs)))
    await check_brokers(settings)  # now there are topics, which must have ids


def new_topic(spec: TopicSpec, replication: int) -> NewTopic:
    """The request that creates a topic: with three replicas or more, two must have what is acknowledged."""
    safety = {"min.insync.replicas": "2"} if replication >= REPLICATION_OF_CLUSTERS else {}
    return NewTopic(
        spec.name, num_partitions=spec.partitions, replication_factor=replication, config=spec.config | safety
    )


class TopicSetup:
    """One run of `ensure_topics`, in a thread: confluent-kafka's calls block."""

    def __init__(self, settings: Settings, deadline_s: float) -> None:
        self._client = new_admin(librdkafka_options(settings))
        self._servers = settings.bootstrap_servers
        self._replication = settings.topic_replication
        self._give_up_s = time.monotonic() + deadline_s

    def run(self, specs: tuple[TopicSpec, ...]) -> None:
        self._hint_at_settings(self._metadata())
        self._create(specs)
        metadata = self._metadata_with(specs)
        faults = [fault for spec in specs for fault in self._faults(spec, metadata.topics[spec.name])]
        if faults:
            raise TopicsUnfit(faults)

    def _create(self, specs: tuple[TopicSpec, ...]) -> None:
        existing = self._metadata().topics
        missing = [new_topic(spec, self._replication) for spec in specs if spec.name not in existing]
        if not missing:
            return
        answers = self._client.create_topics(missing, request_timeout=REQUEST_DEADLINE_S)
        for name, answer in answers.items():
            try:
                answer.result(timeout=REQUEST_DEADLINE_S)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise TopicsUnavailable(f"Topic {name} could not be created: {error.args[0].str()}.") from error
            except TimeoutError as error:
                raise TopicsUnavailable(f"No answer to the creation of topic {name} from {self._servers}.") from error

    def _hint_at_settings(self, metadata: Any) -> None:
        """Look at what the brokers do where nobody says otherwise; a cluster that does not tell is no fault."""
        resource = ConfigResource(ResourceType.BROKER, str(min(metadata.brokers)))
        answer = self._client.describe_configs([resource], request_timeout=REQUEST_DEADLINE_S)[resource]
        try:
            entries = answer.result(timeout=REQUEST_DEADLINE_S)
        except KafkaException as error:
            if error.args[0].code() in REFUSED:
                log.warning("broker_settings_not_checked", reason="this user may not read the brokers' configuration")
                return
            raise TopicsUnavailable(
                f"The configuration of the brokers at {self._servers} is unknown: {error}."
            ) from error
        except TimeoutError as error:
            raise TopicsUnavailable(f"No answer about the brokers' configuration from {self._servers}.") from error
        told = {name: entry.value for name, entry in entries.items()}
        if told.get(AUTO_CREATION) == "true":  # no client of ours lets it, but others may, before us
            log.warning(
                "brokers_create_topics",
                advice=f"set {AUTO_CREATION}=false on them: a foreign client that asks for a topic before us makes it "
                "with other partitions and retention",
            )
        if self._replication == BROKERS_DEFAULT and len(metadata.brokers) > 1 and told.keys() >= set(DURABILITY):
            replicas, insync_min = (int(told[name]) for name in DURABILITY)
            hint = durability_hint(replicas=replicas, insync_min=insync_min)
            if hint is not None:
                log.warning("topics_not_durable", advice=hint)

    def _metadata(self) -> Any:
        """The cluster's metadata, asked for until the deadline: a broker may just be starting."""
        while True:
            left_s = self._give_up_s - time.monotonic()
            try:
                metadata = self._client.list_topics(timeout=max(METADATA_POLL_S, min(left_s, REQUEST_DEADLINE_S)))
                if metadata.brokers:
                    return metadata
            except KafkaException as error:
                if left_s <= 0:
                    raise TopicsUnavailable(
                        f"No Kafka broker answers at {self._servers}: {error.args[0].str()}."
                    ) from error
            if left_s <= 0:
                raise TopicsUnavailable(f"No Kafka broker is ready at {self._servers}.")
            time.sleep(METADATA_POLL_S)

    def _metadata_with(self, specs: tuple[TopicSpec, ...]) -> Any:
        """Metadata lags behind the answer to a creation: wait until every partition has a leader."""
        while True:
            metadata = self._metadata()
            absent = [spec.name for spec in specs if not is_usable(metadata.topics.get(spec.name))]
            if not absent:
                return metadata
            if time.monotonic() > self._give_up_s:
                raise TopicsUnavailable(f"These topics have no leader yet at {self._servers}: {', '.join(absent)}.")
            time.sleep(METADATA_POLL_S)

    def _faults(self, spec: TopicSpec, found: Any) -> list[str]:
        faults = []
        if len(found.partitions) != spec.partitions:
            faults.append(
                f"Topic {spec.name} has {len(found.partitions)} partitions and needs {spec.partitions}; the count is "
                "fixed for life, so delete the topic or use another cluster."
            )
        replicas = min(len(partition.replicas) for partition in found.partitions.values())
        if replicas < self._replication:
            faults.append(
                f"Topic {spec.name} has {replicas} replicas and TOKENWIRE_KAFKA_REPLICATION asks for "
                f"{self._replication}; reassign its partitions."
            )
        return faults


def is_usable(topic: Any) -> bool:
    """Whether every partition that the metadata lists has a leader."""
    return bool(topic is not None and topic.partitions) and all(
        partition.leader >= 0 for partition in topic.partitions.values()
    )
