"""Asks a cluster, before a process starts, whether it can serve us: the requests that it knows, and topic ids.

Whoever runs the cluster reads a sentence then, and not one error per prompt later. A cluster that does not answer is
no news here: whoever needs it waits for it, or says so. Brokers are upgraded one by one, so one that answers today
may be replaced by an older one tomorrow: what a broker lacks is found at each request as well, and waits for another.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka.conn import collect_hosts
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import ApiVersionRequest

from infra.kafka.connection import aiokafka_options
from infra.kafka.decisions.broker_offer import lacking
from infra.kafka.node_connection import NodeAddress, NodeConnection, connection_options
from infra.kafka.topic_ids import TopicIdMissing, TopicIdsRequest, read_topic_ids
from infra.settings import Settings

__all__ = ["BrokersUnfit", "check_brokers"]

ASK_S: Final = 2.0
"""For one broker, connecting included."""


class BrokersUnfit(Exception):
    """The cluster lacks something that cannot be done without. `faults` has a sentence for each thing."""

    def __init__(self, servers: str, faults: list[str]) -> None:
        super().__init__(f"The Kafka brokers at {servers} cannot be used. {' '.join(faults)}")
        self.faults = faults


async def check_brokers(settings: Settings) -> None:
    """Ask the first broker that answers. Raises BrokersUnfit; returns where none answers.

    Cancellation: nothing has happened.
    """
    names = settings.topic_names
    options = connection_options(aiokafka_options(settings), client_id=names.member("check"), timeout_s=ASK_S)
    for host, port, _ in collect_hosts(settings.bootstrap_servers):
        try:
            async with asyncio.timeout(ASK_S), connection_to((host, port), options) as connection:
                faults = await faults_of(connection, names.prompts)
        except (KafkaError, OSError, TimeoutError):
            continue
        if faults:
            raise BrokersUnfit(settings.bootstrap_servers, faults)
        return


@asynccontextmanager
async def connection_to(address: NodeAddress, options: dict[str, Any]) -> AsyncIterator[NodeConnection]:
    connection = NodeConnection(lambda: address, options)
    try:
        yield connection
    finally:
        await connection.close()


async def faults_of(connection: NodeConnection, prompts: str) -> list[str]:
    response = await connection.send(ApiVersionRequest())
    faults = lacking({key: (oldest, newest) for key, oldest, newest, *_ in response.api_versions})
    if faults:
        return faults
    try:
        read_topic_ids(await connection.send(TopicIdsRequest([prompts])))
    except TopicIdMissing as error:
        return [error.args[0]]
    return []
