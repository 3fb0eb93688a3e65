"""`/readyz` while Kafka goes and comes back: what it says then is true again soon after.

Covers: gateway.process.readiness.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from pathlib import Path

from aiokafka import AIOKafkaConsumer

from infra.embedded.broker import EmbeddedBroker
from infra.kafka.connection import aiokafka_options
from tests.fakes.topic_names import PROMPTS
from tests.integration.gateway_line import gateway_settings, http, running_gateway

__all__: list[str] = []

SOON_S = 60.0
KILLS = 2


async def test_only_broker_is_killed_and_comes_back(private_broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Not ready while it is gone, ready once it and a worker are there again; each time."""
    settings = await gateway_settings(private_broker, tmp_path, worker_group=f"workers-{secrets.token_hex(4)}")
    worker = AIOKafkaConsumer(PROMPTS, group_id=settings.worker_group, **aiokafka_options(settings))
    async with running_gateway(settings) as port:
        await worker.start()
        try:
            await until(port, 200)
            for _ in range(KILLS):
                assert private_broker.pid is not None
                os.kill(private_broker.pid, signal.SIGKILL)
                await until(port, 503)
                await private_broker.stop()
                await private_broker.start()
                await until(port, 200)
        finally:
            await worker.stop()


async def until(port: int, status: int) -> None:
    async with asyncio.timeout(SOON_S):
        while (await http(port, "/readyz"))[0] != status:  # noqa: ASYNC110  # as a supervisor asks
            await asyncio.sleep(0.1)
