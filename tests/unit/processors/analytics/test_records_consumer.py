"""What the analytics writer's consumer keeps for its writer to tell, and how it stops where Kafka is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiokafka.errors import KafkaConnectionError
from structlog.testing import capture_logs

from infra.kafka.lost_range import LostRange
from infra.settings import load_settings
from processors.analytics import records_consumer
from processors.analytics.records_consumer import LOST_MAX, RecordsConsumer

__all__: list[str] = []


async def test_more_ranges_than_are_kept() -> None:
    """The first one stays first while it is being told of: what is taken out afterwards is that one."""
    consumer = RecordsConsumer(load_settings({}, kafka="127.0.0.1:1"))
    ranges = [LostRange("t", 0, start, start + 1, "its checksum is wrong", True) for start in range(LOST_MAX + 2)]
    for lost in ranges[:LOST_MAX]:
        consumer.note_lost(lost)
    being_told = consumer.lost[0]
    for lost in ranges[LOST_MAX:]:
        consumer.note_lost(lost)

    assert consumer.lost.popleft() is being_told
    assert len(consumer.lost) == LOST_MAX - 1
    await consumer.stop()


async def fails() -> None:
    raise KafkaConnectionError


async def is_cancelled() -> None:
    """As aiokafka's fetcher does, whose task waits before it asks again."""
    raise asyncio.CancelledError


async def hangs() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("stop", [fails, is_cancelled, hangs])
async def test_stop_while_the_broker_is_away(
    stop: Callable[[], Awaitable[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends in time, whatever aiokafka does, and says what that was."""
    monkeypatch.setattr(records_consumer, "STOP_S", 0.05)
    consumer = RecordsConsumer(load_settings({}))
    await consumer.consumer.stop()
    consumer.consumer.stop = stop
    with capture_logs() as logged:
        await consumer.stop()

    assert [entry["event"] for entry in logged] == ["consumer_stop_failed"]
