"""Could a prompt be answered now? The broker answers, the topics are there, and a worker owns partitions of them.

Asked over a connection of its own, and remembered for two seconds, so that probes cost little and a burst of them asks
once. "A worker is there" is what the group coordinator believes: a killed worker counts until its session times out.

What fails is not kept: the next question goes over a new connection, to whatever the cluster is by then. (librdkafka's
admin client, which was kept here once, answered nothing more about groups after its only broker had been restarted.)
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import structlog
from aiokafka.client import CoordinationType
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import (
    CoordinatorLoadInProgressError,
    GroupCoordinatorNotAvailableError,
    KafkaError,
    NoError,
    NotCoordinatorForGroupError,
    for_code,
)
from aiokafka.protocol.admin import DescribeGroupsRequest

from infra.clock import Clock
from infra.kafka.connection import aiokafka_options, require_token
from infra.kafka.existing_topics import ExistingTopicsRequest
from infra.kafka.sparse_metadata import SparseMetadataClient
from infra.kafka.token_source import BrokerTokenUnavailable
from infra.settings import Settings

__all__ = ["Readiness"]

log = structlog.get_logger(__name__)

REMEMBERED_S: Final = 2.0
ASK_S: Final = 2.0
NO_WORKER: Final = "no worker has joined its group yet"
UNSETTLED: Final = (CoordinatorLoadInProgressError, GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError)
"""Who coordinates the group is being decided: nobody has joined it there yet."""


class Readiness:
    """Answers `/readyz`; `close` must follow."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings = settings
        self._prompts = settings.topic_names.prompts
        self._topics = {spec.name for spec in settings.fixed_topics}
        self._clock = clock
        self._client: SparseMetadataClient | None = None
        self._asking = asyncio.Lock()
        self._asked_at_s = float("-inf")
        self._reason: str | None = "not asked yet"
        self.draining = False

    async def not_ready(self) -> str | None:
        """Why a prompt could not be answered; None where it could."""
        if self.draining:
            return "the gateway is shutting down"
        async with self._asking:  # who comes meanwhile waits for this answer, ASK_S at most, and asks nothing
            if self._clock.monotonic_s() - self._asked_at_s > REMEMBERED_S:
                self._reason = await self.ask()
                self._asked_at_s = self._clock.monotonic_s()
        return self._reason

    async def close(self) -> None:
        """Close the connection; asked again, it is made anew."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def ask(self) -> str | None:
        try:
            async with asyncio.timeout(ASK_S):
                return await self.ask_kafka()
        except BrokerTokenUnavailable as error:
            reason = str(error)
        except (KafkaError, TimeoutError) as error:
            log.info("not_ready", kafka_error=type(error).__name__)
            reason = "Kafka does not answer"
        await self.close()
        return reason

    async def ask_kafka(self) -> str | None:
        """Raises BrokerTokenUnavailable, KafkaError."""
        if self._client is None:
            await require_token(self._settings)
            client_id = self._settings.topic_names.member("readyz")
            options = aiokafka_options(self._settings)
            self._client = await SparseMetadataClient.connected(client_id=client_id, **options)
        answer = await self._client.first_answer(ExistingTopicsRequest(self._topics))
        missing = self._topics - {name for error_code, name, *_ in answer.topics if for_code(error_code) is NoError}
        if missing:
            return f"topics are missing: {', '.join(sorted(missing))}"
        return await self.ask_group(self._client)

    async def ask_group(self, client: SparseMetadataClient) -> str | None:
        """A group that never was, or whose coordinator is still being chosen, has no worker either."""
        group = self._settings.worker_group_name
        try:
            node = await client.coordinator_lookup(CoordinationType.GROUP, group)
            answer = await client.send(node, DescribeGroupsRequest([group]))
        except UNSETTLED as error:
            log.info("not_ready", kafka_error=type(error).__name__)
            return NO_WORKER
        ((error_code, *_, members), *_) = (described[:6] for described in answer.groups)
        return no_worker(members, self._prompts) if for_code(error_code) is NoError else NO_WORKER


def no_worker(members: list[Any], prompts: str) -> str | None:
    """Why the group can't answer prompts; None where members own partitions of the topic `prompts`."""
    is_owned = any(prompts in topics_of(assignment) for *_, assignment in members)
    return None if is_owned else NO_WORKER


def topics_of(assignment: bytes) -> set[str]:
    """What a member was assigned; nothing where somebody else's client has written what no consumer writes."""
    try:
        return {part.topic for part in ConsumerProtocolMemberAssignment.decode(assignment).partitions()}
    except ValueError:
        return set()
