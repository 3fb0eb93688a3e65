"""What a consumer's client makes of answers that hold nothing of a partition though more lies there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Final

from aiokafka.record.default_records import DefaultRecordBatchBuilder

from infra.decisions.backoff import Backoff
from infra.kafka.lost_range import BLANK, LEFT_OUT, LostRange
from infra.kafka.readable_client import ReadableClient
from infra.kafka.record_batches import TRIES_MAX, empty_batch

__all__: list[str] = []

TOPIC: Final = "t"
END: Final = 9


def whole_batch() -> bytes:
    """A record at offset 5."""
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 1_024)
    builder.append(0, timestamp=1, key=None, value=b"v", headers=[])
    return (5).to_bytes(8, "big") + bytes(builder.build())[8:]


OTHER: Final = whole_batch()


class AskedClient(ReadableClient):
    """Whether an offset can be read, asked for alone, is stated."""

    def __init__(self, readable_from: int) -> None:  # no connection is made
        self.readable_from = readable_from
        self.lost: list[LostRange] = []
        self.on_lost = self.lost.append
        self.is_dense = {TOPIC}.__contains__
        self.failures = {}

    async def is_readable(self, node_id: int, place: tuple[str, int], offset: int) -> bool:
        return offset >= self.readable_from

    async def answers(self, *raw: bytes) -> list[bytes]:
        """What becomes of an answer with these bytes of partitions 0, 1, …, all asked for from offset 5."""
        answers = [(number, 0, END, END, None, content) for number, content in enumerate(raw)]
        response: Any = SimpleNamespace(throttle_time_ms=0, topics=[(TOPIC, answers)])
        await self.make_readable(1, {(TOPIC, number): 5 for number in range(len(raw))}, response)
        return [answer[-1] for _, found in response.topics for answer in found]


async def test_partition_that_an_answer_had_no_room_for_loses_nothing() -> None:
    """However often it is left out: asked for alone, it can be read."""
    client = AskedClient(readable_from=0)
    for _ in range(LEFT_OUT.tries_max + 1):
        assert await client.answers(b"", OTHER) == [b"", OTHER]

    assert not client.lost


async def test_jump_that_nothing_explains(monkeypatch: Any) -> None:
    """What a batch behind it shows to be missing is passed over; on a topic that is compacted it is no loss."""
    monkeypatch.setattr("infra.kafka.readable_client.LEADER_BACKOFF", Backoff(0.0))
    later = (7).to_bytes(8, "big") + OTHER[8:]
    client = AskedClient(readable_from=0)
    found = [await client.answers(later) for _ in range(TRIES_MAX)]

    assert found == [[b""]] * (TRIES_MAX - 1) + [[empty_batch(5, 7)]]
    assert [(lost.start, lost.end) for lost in client.lost] == [(5, 7)]
    client.is_dense = frozenset[str]().__contains__
    assert await client.answers(later) == [later]


async def test_partition_of_which_a_broker_shows_nothing_is_passed_over(monkeypatch: Any) -> None:
    """As far as it cannot be read alone either."""
    monkeypatch.setattr("infra.kafka.readable_client.LEADER_BACKOFF", Backoff(0.0))
    client = AskedClient(readable_from=7)
    found = [await client.answers(b"") for _ in range(BLANK.tries_max)]

    assert found == [[b""]] * (BLANK.tries_max - 1) + [[empty_batch(5, 7)]]
    assert [(lost.start, lost.end) for lost in client.lost] == [(5, 7)]
