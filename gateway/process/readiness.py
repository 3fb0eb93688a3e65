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
        self._options = librdkafka_options(settings)
        self._group = settings.worker_group_name
        self._prompts = settings.topic_names.prompts
        self._topics = {spec.name for spec in settings.fixed_topics}
        self._clock = clock
        self._admin: AdminClient | None = None
        self._asking = asyncio.Lock()
        self._asked_at_s = float("-inf")
        self._reason: str | None = "not asked yet"
        self.draining = False

    async def not_ready(self) -> str | None:
        """Why a prompt could not be answered; None where it could."""
        if self.draining:
            return "the gateway is shutting down"
        async with self._asking:
            if self._clock.monotonic_s() - self._asked_at_s > REMEMBERED_S:
                self._reason = await asyncio.to_thread(self.ask)
                self._asked_at_s = self._clock.monotonic_s()
        return self._reason

    def ask(self) -> str | None:
        try:
            if self._admin is None:
                self._admin = new_admin(self._options)
            missing = self._topics - self._admin.list_topics(timeout=ASK_S).topics.keys()
            if missing:
                return f"topics are missing: {', '.join(sorted(missing))}"
        except BrokerTokenUnavailable as error:
            return str(error)
        except KafkaException as error:
            log.info("not_ready", kafka_error=error.args[0].name())
            return "Kafka does not answer"
        return self.ask_group(self._admin)

    def ask_group(self, admin: AdminClient) -> str | None:
        """A group that never was, or whose coordinator is still being chosen, has no worker either."""
        try:
            future = admin.describe_consumer_groups([self._group], request_timeout=ASK_S)[self._group]
            return no_worker(future.result(timeout=ASK_S), self._prompts)
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
