"""Does a Kafka broker answer? Asked on a connection of its own, without a client that would log and retry."""

from __future__ import annotations

import asyncio
from typing import Final

from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError

from infra.kafka.existing_topics import ExistingTopicsRequest

__all__ = ["answers_metadata"]

METADATA_DEADLINE_S: Final = 2.0


async def answers_metadata(
    host: str, port: int, deadline_s: float = METADATA_DEADLINE_S, *, brokers_min: int = 1
) -> bool:
    """Whether a Kafka broker there answers a metadata request and knows so many: the port alone says too little."""
    try:
        async with asyncio.timeout(deadline_s):
            connection = await create_conn(host, port, client_id="tokenwire-ready")
            try:
                answer = await connection.send(ExistingTopicsRequest([]))
                return len(answer.brokers) >= brokers_min
            finally:
                closing = connection.close()
                if closing is not None:
                    await closing
    except (OSError, KafkaError, TimeoutError):
        return False
