"""Processes whose broker is not there, or goes away: what they say is a sentence, and no trace of our code."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from infra.embedded.broker import EmbeddedBroker
from infra.ports import find_free_port
from tests.integration.analytics_fixture import analytics_settings, publish
from tests.integration.broker_fixture import private_broker

__all__ = ["private_broker"]

READY = b"analytics_ready"
WAIT_S = 60.0


async def started(command: str, home: Path, servers: str) -> asyncio.subprocess.Process:
    environment = os.environ | {
        "TOKENWIRE_HOME": str(home),
        "TOKENWIRE_KAFKA": servers,
        "TOKENWIRE_PROVIDER_URL": "http://127.0.0.1:9/v1",
        "TOKENWIRE_MODEL": "m",
        "TOKENWIRE_METRICS_PORT": "0",
        "TOKENWIRE_LOG_FORMAT": "json",
        "TOKENWIRE_SESSION_TIMEOUT_S": "1.5",
    }
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tokenwire", command),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def said_until(child: asyncio.subprocess.Process, word: bytes) -> None:
    assert child.stdout is not None
    async with asyncio.timeout(WAIT_S):
        while word not in (line := await child.stdout.readline()):
            assert line, "the process ended"


async def test_worker_without_a_broker(tmp_path: Path) -> None:
    """It ends, and says what is missing and which setting says where that is."""
    servers = f"127.0.0.1:{find_free_port()}"
    child = await started("worker", tmp_path, servers)
    said, _ = await asyncio.wait_for(child.communicate(), WAIT_S)

    assert child.returncode == 1
    assert f"Error: no Kafka broker answers at {servers}; TOKENWIRE_KAFKA".encode() in said
    assert b"Traceback" not in said


async def test_analytics_stopped_in_an_outage(private_broker: EmbeddedBroker, tmp_path: Path) -> None:
    """It ends in good order, as if the broker were there."""
    await publish(analytics_settings(tmp_path / "home", private_broker.bootstrap_servers), [])
    child = await started("analytics", tmp_path / "home", private_broker.bootstrap_servers)
    try:
        await said_until(child, READY)
        await private_broker.stop(0.0)
        await said_until(child, b"Unable")  # aiokafka, of the broker
        child.send_signal(signal.SIGTERM)
        said, _ = await asyncio.wait_for(child.communicate(), WAIT_S)
    finally:
        if child.returncode is None:
            child.kill()

    assert b"Traceback" not in said, said.decode()
    assert child.returncode == 0
