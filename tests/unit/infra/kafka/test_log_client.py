"""Reads of a partition: what a fetch's bytes hold, and where to read on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from infra.kafka.log_client import READ_S, Fetched, LogClient, LogUnavailable, OffsetOutOfRange
from infra.kafka.lost_range import BLANK
from infra.kafka.record_batches import Decoded, decode_records
from infra.settings import load_settings
from tests.fakes.virtual_loop import VirtualLoop, run_virtual

__all__: list[str] = []


def batch(base: int, offsets: list[int], *, last: int) -> bytes:
    """A batch as compaction leaves it: records with these offsets, up to `last`."""
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1,
        batch_size=65_536,
    )  # fmt: skip
    for offset in [*offsets, last]:
        builder.append(offset - base, timestamp=offset, key=b"k", value=b"%d" % offset, headers=[])
    whole = bytes(builder.build())
    if last in offsets:
        builder = DefaultRecordBatchBuilder(
            magic=2, compression_type=0, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1,
            batch_size=65_536,
        )  # fmt: skip
        for offset in offsets:
            builder.append(offset - base, timestamp=offset, key=b"k", value=b"%d" % offset, headers=[])
        whole = bytes(builder.build())
    return base.to_bytes(8, "big") + whole[8:]


def test_records_of_a_batch_that_begins_earlier() -> None:
    """Only those from the asked offset on."""
    decoded = decode_records(batch(10, [10, 11, 12], last=12), 11)

    assert [(record.offset, record.value) for record in decoded.records] == [(11, b"11"), (12, b"12")]
    assert decoded.next_offset == 13


def test_no_bytes() -> None:
    """No records, and no way to go."""
    assert decode_records(None, 5) == Decoded([], 5)
    assert decode_records(b"", 5) == Decoded([], 5)


class ScriptedClient(LogClient):
    """Answers fetches from a list of what each segment's end leaves."""

    def __init__(self, answers: dict[int, Fetched]) -> None:
        super().__init__(load_settings({}))
        self.answers = answers

    async def fetch(
        self, topic: str, partition: int, offset: int, *, wait_ms: int = 0, bytes_max: int = 1_048_576
    ) -> Fetched:
        """The answer for this offset; out of range below 100."""
        if offset < 100:
            raise OffsetOutOfRange(100, 300)
        return self.answers.get(offset, Fetched([], 300, offset))


async def read(answers: dict[int, Fetched], start: int, end: int) -> list[int]:
    client = ScriptedClient(answers)
    return [record.offset async for records in client.read("t", 0, start, end) for record in records]


def fetched(raw: bytes, offset: int) -> Fetched:
    decoded = decode_records(raw, offset)
    return Fetched(decoded.records, 300, decoded.next_offset)


async def test_batches_emptied_by_compaction() -> None:
    """A fetch whose batch has no record left at or after its offset is not the end of the log."""
    first, second = batch(100, [100, 101, 109], last=109), batch(200, [200], last=200)
    emptied = Fetched([], 300, 200)
    answers = {100: Fetched(fetched(first, 100).records[:2], 300, 102), 102: emptied, 200: fetched(second, 200)}

    assert await read(answers, 100, 300) == [100, 101, 200]


async def test_start_before_the_log() -> None:
    """It begins where the log begins."""
    assert await read({100: fetched(batch(100, [100], last=100), 100)}, 3, 300) == [100]


async def test_end_within_a_batch() -> None:
    """What lies at or after the end is left out."""
    assert await read({100: fetched(batch(100, [100, 101, 102], last=102), 100)}, 100, 102) == [100, 101]


class LaggingClient(ScriptedClient):
    """A leader elected a moment ago: for so many fetches it shows nothing from offset 101 on."""

    def __init__(self, blanks: int) -> None:
        super().__init__({n: fetched(batch(n, [n], last=n), n) for n in (100, 101)})
        self.blanks = blanks

    async def fetch(
        self, topic: str, partition: int, offset: int, *, wait_ms: int = 0, bytes_max: int = 1_048_576
    ) -> Fetched:
        """Nothing yet, or the script."""
        if offset > 100 and self.blanks:
            self.blanks -= 1
            return Fetched([], 101, offset)
        return await super().fetch(topic, partition, offset, wait_ms=wait_ms, bytes_max=bytes_max)


def test_new_leader_does_not_show_all_of_it_yet() -> None:
    """It is asked again: a journal that ends early would lose turns. One that never does is unavailable."""
    assert run_virtual(VirtualLoop(), collected(LaggingClient(2))) == [100, 101]
    with pytest.raises(LogUnavailable, match="does not show all"):
        run_virtual(VirtualLoop(), collected(LaggingClient(1_000)))


class SlowClient(LogClient):
    """A leader that answers each question late: with nothing, so many times, then with what lies there."""

    def __init__(self, *, answer_s: float, blanks: int) -> None:
        super().__init__(load_settings({}))
        self.answer_s = answer_s
        self.blanks = blanks

    async def fetch_once(
        self, topic: str, partition: int, offset: int, *, wait_ms: int, bytes_max: int
    ) -> tuple[Decoded, int]:
        """Late."""
        await asyncio.sleep(self.answer_s)
        self.blanks -= 1
        if self.blanks >= 0:
            return Decoded([], offset, BLANK), 101
        return decode_records(batch(offset, [offset], last=offset), offset), 101


def test_place_that_shows_nothing_is_asked_for_a_bounded_time() -> None:
    """It is unavailable then, and not lost: what lies there is read as soon as the leader shows it."""
    client, loop = SlowClient(answer_s=100.0, blanks=3), VirtualLoop()

    with pytest.raises(LogUnavailable, match="180 s"):
        run_virtual(loop, client.fetch("t", 0, 100))
    assert loop.time() == READ_S

    client.answer_s = 1.0
    found = run_virtual(VirtualLoop(), client.fetch("t", 0, 100))
    assert ([record.offset for record in found.records], found.lost) == ([100], None)


def test_leader_that_shows_a_part_late_is_asked_for_a_bounded_time() -> None:
    """No fetch begins after that time."""

    class Late(LaggingClient):
        async def fetch(self, *place: Any, **options: Any) -> Fetched:
            await asyncio.sleep(100.0)
            return await super().fetch(*place, **options)

    loop = VirtualLoop()
    with pytest.raises(LogUnavailable, match="does not show all"):
        run_virtual(loop, collected(Late(1_000)))
    assert READ_S <= loop.time() - 100.0 <= 2 * READ_S


async def collected(client: LogClient) -> list[int]:
    return [record.offset async for records in client.read("t", 0, 100, 102) for record in records]


def test_batch_is_as_brokers_write_it() -> None:
    """The builder of these tests makes batches that decode with their own offsets."""
    found = MemoryRecords(batch(7, [7], last=7)).next_batch()

    assert (found.base_offset, found.next_offset) == (7, 8)
