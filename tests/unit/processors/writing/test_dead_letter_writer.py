"""What an operator finds."""

from __future__ import annotations

import asyncio
import hashlib

from infra.kafka.lost_range import LostRange
from infra.telemetry.metric_names import WORKER_METRICS
from infra.telemetry.metrics import Metrics
from processors.writing.dead_letter_writer import DeadLetterWriter
from processors.writing.log_appender import AppendFailed
from schemas.codec import decode_dead_letter
from schemas.dead_letters import DEAD_LETTER_VALUE_BYTES_MAX, DeadLetter
from schemas.topics import PROMPT_CARRIER_BYTES_MAX
from tests.fakes.memory_log import Fate, MemoryAppender, MemoryLog, Weather
from tests.fakes.topic_names import DEAD_LETTERS
from tests.fakes.virtual_clock import VirtualClock
from tests.fakes.virtual_loop import VirtualLoop, run_virtual

__all__: list[str] = []


def written(value: bytes | None, key: bytes | None = b"u") -> DeadLetter:
    clock = VirtualClock()
    log = MemoryLog(clock)
    writer = DeadLetterWriter(MemoryAppender(log), clock, Metrics(WORKER_METRICS))
    work = writer.write(reason="malformed", message="no", topic="t", partition=3, offset=9, key=key, value=value)
    run_virtual(VirtualLoop(), work)
    (record,) = log.records(DEAD_LETTERS, 0)
    assert record.value is not None
    assert len(record.value) < PROMPT_CARRIER_BYTES_MAX
    return decode_dead_letter(record.value)


def test_small_record() -> None:
    """Everything is there: bytes, reason and place."""
    letter = written(b"{")

    assert (letter.value, letter.key, letter.value_bytes, letter.reason) == (b"{", b"u", 1, "malformed")
    assert (letter.topic, letter.partition, letter.offset) == ("t", 3, 9)


def test_empty_record() -> None:
    """No bytes are not the same as none."""
    assert written(None, None).value is None
    assert written(b"").value == b""


def test_large_record() -> None:
    """Its beginning, with the hash and length of the whole."""
    value = b"\xff" * 1_000_000
    letter = written(value, b"k" * 5_000)

    assert letter.value == value[:DEAD_LETTER_VALUE_BYTES_MAX]
    assert (letter.value_bytes, letter.value_sha256) == (len(value), hashlib.sha256(value).hexdigest())
    assert letter.key == b"k" * 1_024


def test_range_that_two_readers_meet_at_once() -> None:
    """It is told of once; where that fails, the other one tells."""
    clock = VirtualClock()
    log = MemoryLog(clock)
    weathers = [Weather(Fate.FAILS, there_s=1.0), Weather(there_s=1.0)]
    writer = DeadLetterWriter(MemoryAppender(log, lambda _: weathers.pop(0)), clock, Metrics(WORKER_METRICS))
    lost = LostRange("t", 0, 5, 9, "its checksum is wrong", end_is_known=True)

    async def meet() -> list[BaseException | None]:
        return await asyncio.gather(*(writer.write_lost(lost) for _ in range(3)), return_exceptions=True)

    assert [type(outcome) for outcome in run_virtual(VirtualLoop(), meet())] == [AppendFailed, type(None), type(None)]
    assert len(log.records(DEAD_LETTERS, 0)) == 1
