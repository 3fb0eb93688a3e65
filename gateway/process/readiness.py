"""Could a prompt be answered now? The broker answers, the topics are there, and a worker owns partitions of them.

Asked through the admin client, off the event loop, and remembered for two seconds, so that probes cost little and a
burst of them asks once. "A worker is there" is what the group coordinator believes: a killed worker counts until its
session times out.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from infra.clock import Clock
from infra.kafka.connection import librdkafka_options, new_admin
from infra.kafka.token_source import BrokerTokenUnavailable
from infra.settings import Settings

__all__ = ["Readiness"]

log = structlog.get_logger(__name__)

REMEMBERED_S: Final = 2.0
ASK_S: Final = 2.0
NO_WORKER: Final = "no worker has joined its group yet"


class Readiness:
    """Answers `/readyz`."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.options = librdkafka_options(settings)
        self.group = settings.worker_group_name
        self.prompts = settings.topic_names.prompts
        self.topics = {spec.name for spec in settings.fixed_topics}
        self.clock = clock
        self.admin: AdminClient | None = None
        self.asking = asyncio.Lock()
        self.asked_at_s = float("-inf")
        self.reason: str | None = "not asked yet"
        self.draining = False

    async def not_ready(self) -> str | None:
        """Why a prompt could not be answered; None where it could."""
        if self.draining:
            return "the gateway is shutting down"
        async with self.asking:
            if self.clock.monotonic_s() - self.asked_at_s > REMEMBERED_S:
                self.reason = await asyncio.to_thread(self.ask)
                self.asked_at_s = self.clock.monotonic_s()
        return self.reason

    def ask(self) -> str | None:
        try:
            if self.admin is None:
                self.admin = new_admin(self.options)
            missing = self.topics - self.admin.list_topics(timeout=ASK_S).topics.keys()
            if missing:
                return f"topics are missing: {', '.join(sorted(missing))}"
        except BrokerTokenUnavailable as error:
            return str(error)
        except KafkaException as error:
            log.info("not_ready", kafka_error=error.args[0].name())
            return "Kafka does not answer"
        return self.ask_group(self.admin)

    def ask_group(self, admin: AdminClient) -> str | None:
        """A group that never was, or whose coordinator is still being chosen, has no worker either."""
        try:
            future = admin.describe_consumer_groups([self.group], request_timeout=ASK_S)[self.group]
            return no_worker(future.result(timeout=ASK_S), self.prompts)
        except KafkaException as error:
            log.info("not_ready", kafka_error=error.args[0].name())
            return NO_WORKER
        except TimeoutError:
            return "Kafka does not answer about the workers"


def no_worker(group: Any, prompts: str) -> str | None:
    """Why the group can't answer prompts; None where members own partitions of the topic `prompts`."""
    for member in group.members:
        if member.assignment and any(part.topic == prompts for part in member.assignment.topic_partitions):
            return None
    return NO_WORKER
