"""What the analytics writer's consumer keeps for its writer to tell."""

from __future__ import annotations

from infra.kafka.lost_range import LostRange
from infra.settings import load_settings
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
