"""Fixtures of the fault tests: brokers, and a line on one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from infra.embedded.broker import EmbeddedBroker
from tests.integration.broker_fixture import broker, private_broker
from tests.integration.worker_line import WorkerLine, open_line

__all__ = ["broker", "line", "private_broker", "private_line"]


@pytest_asyncio.fixture
async def line(broker: EmbeddedBroker, tmp_path: Path) -> AsyncIterator[WorkerLine]:
    """A line on the session's broker; a worker group of its own, so that tests don't wait for each other's dead."""
    async with open_line(broker, tmp_path) as opened:
        yield opened


@pytest_asyncio.fixture
async def private_line(private_broker: EmbeddedBroker, tmp_path: Path) -> AsyncIterator[WorkerLine]:
    """A line whose broker the test may kill."""
    async with open_line(private_broker, tmp_path) as opened:
        yield opened
